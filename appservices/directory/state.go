package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// state is what the bridge remembers between two runs.
type state struct {
	// Source is the source that it is about: another one begins anew.
	Source string `json:"source"`
	// Mark is where reading the source goes on.
	Mark string `json:"mark"`
	// Full is when all was last compared.
	Full time.Time `json:"full"`
	// People and Groups are by the ids of the source.
	People map[string]*account `json:"people"`
	Groups map[string]*room    `json:"groups"`
}

// account is what the homeserver has of a person.
type account struct {
	// SCIM is the id of the resource.
	SCIM string `json:"scim"`
	// Hash is of what it was told; empty if that is not known.
	Hash string `json:"hash"`
	// Active is false for one that is locked; Left is since when its person has been gone.
	Active bool       `json:"active"`
	Left   *time.Time `json:"left,omitempty"`
}

// room is what the homeserver has of a group.
type room struct {
	SCIM string `json:"scim"`
	Hash string `json:"hash"`
	// Room is the room that the bot made of it.
	Room string `json:"room,omitempty"`
}

func newState(source string) *state {
	return &state{Source: source, People: map[string]*account{}, Groups: map[string]*room{}}
}

// loadState reads the file, or begins anew.
func loadState(file, source string) (*state, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(source), nil
	}
	if err != nil {
		return nil, err
	}
	s := newState(source)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: is broken; remove it, and everything is compared anew: %w", file, err)
	}
	if s.Source != source || s.People == nil || s.Groups == nil {
		return newState(source), nil
	}
	return s, nil
}

// save replaces the file in one step.
func (s *state) save(file string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
