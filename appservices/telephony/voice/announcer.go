package voice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"unicode"

	"github.com/roomline/roomline/internal/limits"
)

// announcer has the sound of phrases: a recording, or what a program speaks, or tones.
type announcer struct {
	log *slog.Logger
	// speech is a program with its arguments, {language} in them is the language. It reads a text and writes a WAV file.
	speech []string
	// recorded are recordings by language and phrase.
	recorded map[string]map[phrase]sound

	mu sync.Mutex
	// spoken are what the program has spoken, and what is being waited for, by language and text; samples is how much that is.
	spoken  map[string]*utterance
	samples int
	// busy bounds how many programs run.
	busy chan struct{}
}

type utterance struct {
	done  chan struct{}
	sound sound
	err   error
}

// newAnnouncer reads the recordings: language → folder.
func newAnnouncer(folders map[string]string, speech []string, log *slog.Logger) (*announcer, error) {
	a := &announcer{log: log, speech: speech, recorded: map[string]map[phrase]sound{}, spoken: map[string]*utterance{}, busy: make(chan struct{}, 4)}
	for language, folder := range folders {
		if !speaks(language) {
			return nil, fmt.Errorf("announcements.%s: languages are %s", language, strings.Join(languages, ", "))
		}
		a.recorded[language] = map[phrase]sound{}
		for p := range words["en"] {
			s, err := recordedIn(filepath.Join(folder, string(p)))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("announcements.%s: %w", language, err)
			}
			a.recorded[language][p] = s
		}
		if len(a.recorded[language]) == 0 {
			return nil, fmt.Errorf("announcements.%s: the folder %s has no recording such as %s.wav", language, folder, phEnterPIN)
		}
	}
	if len(speech) > 0 {
		if _, err := exec.LookPath(speech[0]); err != nil {
			return nil, fmt.Errorf("speech: %w", err)
		}
	}
	return a, nil
}

// recordedIn is a recording in a file with the ending wav, for phones of SIP, and in one with the ending ogg, for those of LiveKit SIP.
func recordedIn(path string) (sound, error) {
	file, err := os.ReadFile(path + ".wav")
	none := errors.Is(err, os.ErrNotExist)
	var s sound
	if err == nil {
		s, err = readWAV(file)
	}
	if err != nil && !none {
		return s, fmt.Errorf("%s.wav: %w", filepath.Base(path), err)
	}
	if file, err = os.ReadFile(path + ".ogg"); err == nil {
		s.opus, err = readOpus(file)
	}
	if err != nil && (none || !errors.Is(err, os.ErrNotExist)) {
		return s, fmt.Errorf("%s.ogg: %w", filepath.Base(path), err)
	}
	return s, nil
}

// missing are the phrases that are only tones in a language.
func (a *announcer) missing(language string) []phrase {
	if len(a.speech) > 0 {
		return nil
	}
	var list []phrase
	for p := range words[language] {
		if a.recorded[language][p].narrow == nil && !strings.Contains(string(p), "_as") && p != "invites_by" && p != "invites_to" {
			list = append(list, p)
		}
	}
	return list
}

// prepare has what everybody hears first spoken before anybody calls.
func (a *announcer) prepare(ctx context.Context, language string) {
	for _, p := range []phrase{phWelcome, phEnterPIN, phWrongPIN, phJoined, phFirst, phPress1, phMoment, phGoodbye} {
		if ctx.Err() == nil {
			a.sound(ctx, language, p, "", "")
		}
	}
}

// sound is a phrase in a language. What there is not in Opus is tones there.
func (a *announcer) sound(ctx context.Context, language string, p phrase, name, title string) sound {
	if !speaks(language) {
		language = "en"
	}
	s := a.soundFor(ctx, language, p, name, title)
	if s.opus = a.recorded[language][p].opus; s.opus == nil {
		s.opus = opusTones(tonesFor(p))
	}
	return s
}

func (a *announcer) soundFor(ctx context.Context, language string, p phrase, name, title string) sound {
	recorded := a.recorded[language][p]
	ok := recorded.narrow != nil
	if ok && (!named[p] || name == "" || len(a.speech) == 0) {
		return recorded
	}
	if len(a.speech) > 0 {
		s, err := a.speak(ctx, language, text(language, p, speakable(name), speakable(title)))
		if err == nil {
			return s
		}
		if ctx.Err() == nil {
			a.log.Warn("voice: an announcement is not spoken", "phrase", p, "language", language, "error", err)
		}
		if ok {
			return recorded
		}
	}
	return tonesOf(p)
}

// speakable is a name as a program may read it: letters, digits, spaces and what stands between words; not too long.
func speakable(name string) string {
	const longest = 80
	name = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune(" -'’.,&+", r) {
			return r
		}
		return ' '
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	if r := []rune(name); len(r) > longest {
		name = string(r[:longest])
	}
	return name
}

// speak has the program speak a text, once.
func (a *announcer) speak(ctx context.Context, language, text string) (sound, error) {
	key := language + "\x00" + text
	a.mu.Lock()
	u := a.spoken[key]
	mine := u == nil
	if mine {
		u = &utterance{done: make(chan struct{})}
		a.spoken[key] = u
	}
	a.mu.Unlock()
	if mine {
		u.sound, u.err = a.run(language, text)
		a.mu.Lock()
		if u.err != nil {
			delete(a.spoken, key)
		} else if a.samples += u.sound.samples(); a.samples > limits.VoiceSpoken*(8000+16000) {
			a.spoken, a.samples = map[string]*utterance{}, 0
		}
		a.mu.Unlock()
		close(u.done)
	}
	select {
	case <-u.done:
		return u.sound, u.err
	case <-ctx.Done():
		return sound{}, ctx.Err()
	}
}

// run runs the program. The text goes to its standard input, so that it can't be taken for an option.
func (a *announcer) run(language, text string) (sound, error) {
	a.busy <- struct{}{}
	defer func() { <-a.busy }()
	ctx, cancel := context.WithTimeout(context.Background(), limits.VoiceSpeaking)
	defer cancel()
	args := make([]string, len(a.speech)-1)
	for i, one := range a.speech[1:] {
		args[i] = strings.ReplaceAll(one, "{language}", language)
	}
	cmd := exec.CommandContext(ctx, a.speech[0], args...)
	cmd.Stdin = strings.NewReader(text)
	cmd.WaitDelay = limits.VoiceSpeaking
	const longest = 16 << 20
	out := &capped{most: longest}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return sound{}, fmt.Errorf("%s: %w", a.speech[0], err)
	}
	return readWAV(out.Bytes())
}

// capped is a buffer that takes only so much.
type capped struct {
	bytes.Buffer
	most int
}

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > c.most {
		return 0, io.ErrShortBuffer
	}
	return c.Buffer.Write(p)
}

const low, middle, high = 392.0, 523.0, 659.0

// pitchesOf are tones, by their name in the folder tones.
var pitchesOf = map[string][]float64{
	"ask": {middle, high, middle, high}, "up": {low, middle, high}, "refusal": {low, low, low}, "down": {high, middle, low}, "note": {middle},
}

// tonesFor are the tones for a phrase.
func tonesFor(p phrase) string {
	switch p {
	case phEnterPIN, phPress1, phAskConsent, phInvites, phHelp:
		return "ask"
	case phWelcome, phJoined, phBack, phUnmuted, phHandUp:
		return "up"
	case phWrongPIN, phTooMany, phUnavailable, phNoService, phNotAllowed, phEncrypted, phFull, phLocked, phDenied, phBudget:
		return "refusal"
	case phGoodbye, phRemoved, phEnded, phRevoked, phSuspended, phTime, phMuted, phMutedBy, phHandDown:
		return "down"
	}
	return "note"
}

// tonesOf is what is heard in place of words: something to do rises, something that went wrong falls.
func tonesOf(p phrase) sound {
	pitches := pitchesOf[tonesFor(p)]
	tones := func(rate int) (pcm []int16) {
		for _, hertz := range pitches {
			pcm = append(append(pcm, tone(hertz, rate*15/100, rate)...), make([]int16, rate*5/100)...)
		}
		return pcm
	}
	return sound{narrow: tones(8000), wide: tones(16000)}
}
