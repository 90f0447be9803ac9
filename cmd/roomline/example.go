package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// exampleOrganisation is what somebody who tries the server out finds there.
type exampleOrganisation struct {
	users []exampleUser
	room  matrix.RoomAlias
	file  string // with the passwords
}

type exampleUser struct {
	id       matrix.UserID
	password string // empty if the account was made elsewhere
}

// seed makes two users with random passwords and a room that both are in, unless they are there already. The passwords are
// kept in a file, to be printed at each start.
func (a *app) seed(ctx context.Context, dataDir string) (exampleOrganisation, error) {
	domain := hostedDomains(a.cfg)[0]
	example := exampleOrganisation{file: filepath.Join(dataDir, "dev-users.txt"), room: matrix.RoomAlias("#welcome:" + string(domain))}
	passwords, err := examplePasswords(a.cfg, example.file)
	if err != nil {
		return example, err
	}
	for _, u := range []struct{ localpart, name string }{{"alice", "Alice"}, {"bob", "Bob"}} {
		user := exampleUser{id: matrix.UserID("@" + u.localpart + ":" + string(domain)), password: passwords[u.localpart]}
		_, err := a.accounts.Create(ctx, auth.NewAccount{Localpart: u.localpart, Password: user.password, DisplayName: u.name})
		if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrUserInUse {
			err = a.forgetWrongPassword(ctx, &user)
		}
		if err != nil {
			return example, err
		}
		example.users = append(example.users, user)
	}
	return example, a.seedRoom(ctx, example)
}

// forgetWrongPassword keeps the summary from showing a password that has been changed, or is of another data directory.
func (a *app) forgetWrongPassword(ctx context.Context, u *exampleUser) error {
	id := &auth.Identifier{Type: "m.id.user", User: string(u.id)}
	_, err := a.accounts.VerifyPassword(ctx, id, u.password, "127.0.0.1")
	if _, ok := matrix.AsError(err); ok {
		u.password = ""
		return nil
	}
	return err
}

func (a *app) seedRoom(ctx context.Context, example exampleOrganisation) error {
	_, err := a.store.GetAlias(ctx, example.room, example.users[0].id)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	alice, bob := example.users[0].id, example.users[1].id
	room, err := a.rooms.CreateRoom(ctx, roomserver.CreateRoom{
		Creator: alice, OrganisationID: store.DefaultOrganisation, Preset: roomserver.PresetPrivate, AliasLocalpart: "welcome",
		Name: "Welcome", Topic: "A room to try things out in", Invite: []matrix.UserID{bob},
	})
	if err != nil {
		return err
	}
	if err := a.rooms.Join(ctx, roomserver.Membership{Room: room, Sender: bob}); err != nil {
		return err
	}
	_, err = a.rooms.Send(ctx, roomserver.NewEvent{
		Room: room, Sender: alice, Type: "m.room.message", Content: []byte(`{"body":"Hello Bob!","msgtype":"m.text"}`),
	})
	return err
}

// examplePasswords reads the passwords by user name, or makes them.
func examplePasswords(cfg *config.Config, file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDataDir(cfg); err != nil {
			return nil, err
		}
		text = fmt.Appendf(nil, "alice %s\nbob %s\n", newPassword(), newPassword())
		err = writeSecret(file, string(text))
	}
	if err != nil {
		return nil, err
	}
	passwords := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, password, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			passwords[name] = password
		}
	}
	if passwords["alice"] == "" || passwords["bob"] == "" {
		return nil, fmt.Errorf("%s has to have the lines \"alice PASSWORD\" and \"bob PASSWORD\"; remove it to have it made again", file)
	}
	return passwords, nil
}

// newPassword is easy to type: 80 random bits in groups of four.
func newPassword() string {
	text := strings.ToLower(rand.Text()[:16])
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}

// print writes the summary of the start.
func (e exampleOrganisation) print(w io.Writer, cfg *config.Config, url string) {
	fmt.Fprintf(w, "\nRoomline is running.\n\n  Homeserver   %s   (server name: %s)\n", url, cfg.ServerName)
	for _, u := range e.users {
		password := "password  " + u.password
		if u.password == "" {
			password = "password changed; give a new one with: roomline user password"
		}
		fmt.Fprintf(w, "  User         %-20s %s\n", u.id, password)
	}
	fmt.Fprintf(w, "  Room         %-20s both users are in it\n", e.room)
	alice := e.users[0]
	fmt.Fprintf(w, `
  With a Matrix client:  in Element (desktop or https://app.element.io) choose "Sign in", change the homeserver
                         to %[1]s, and sign in as alice.
  With curl:             curl -s %[1]s/_matrix/client/v3/login -d '{"type": "m.login.password",
                           "identifier": {"type": "m.id.user", "user": "alice"}, "password": "%[2]s"}'
  More users:            bin/roomline user create --dev --data %[3]s --server-name %[4]s NAME
  Health and figures:    %[1]s/readyz  and  %[1]s/metrics
  The data:              %[3]s   (passwords in %[5]s; remove the folder to begin again)
  Stop:                  Ctrl-C

`, url, alice.password, cfg.DataDir, cfg.ServerName, e.file)
}
