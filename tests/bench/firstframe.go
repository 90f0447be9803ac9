package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"time"
)

const (
	// frameGuests come one after the other by links to a room whose meeting is on.
	frameGuests = 5
	frameGoal   = 3 * time.Second
)

// firstFrame measures what somebody waits for who opens a link: the page, becoming a guest, joining the meeting, the first picture of the other
// one. Buttons are pressed at once. The first has an empty cache and counts, too.
func (b *bench) firstFrame() ([]figure, error) {
	if err := b.meetings(); err != nil {
		return nil, err
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("a browser: %w; make chromium installs it", err)
	}
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	room, err := people[0].createRoom("first frame")
	if err != nil {
		return nil, err
	}
	links := make([]string, frameGuests+1)
	for i := range links {
		answer, err := people[0].client.do("POST", "/_roomline/client/v1/rooms/"+url.PathEscape(room)+"/invitations", []byte(`{"language":"en"}`))
		if err != nil {
			return nil, fmt.Errorf("invite: %w", err)
		}
		links[i] = field(answer, "link")
	}
	text, err := json.Marshal(links)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("node", "frame.mjs")
	cmd.Dir = "tests/guest"
	cmd.Env = append(os.Environ(), "ROOMLINE_URL=http://"+b.server.address, "LINKS="+string(text), "CHROMIUM="+browser)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the browser: %w: %s", err, complaints.Bytes())
	}
	var times []int
	if err := json.Unmarshal(out, &times); err != nil || len(times) != frameGuests {
		return nil, fmt.Errorf("the browser said %q: %v", out, err)
	}
	first, worst := times[0], slices.Max(times)
	slices.Sort(times)
	took := time.Duration(worst) * time.Millisecond
	return []figure{{
		what: "link opened to first picture", measured: fmt.Sprintf("%d ms, the slowest %v", times[len(times)/2], took),
		yardstick: fmt.Sprintf("%d ms with an empty cache", first), goal: "≤ " + frameGoal.String(), met: took <= frameGoal,
	}}, nil
}
