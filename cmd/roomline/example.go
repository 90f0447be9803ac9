package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// exampleOrganisation is what somebody who tries the server out finds there: an organisation, another one that it is linked with, and
// people in the directory of both.
type exampleOrganisation struct {
	users []exampleUser
	room  matrix.RoomAlias
	file  string // with the passwords
}

type exampleUser struct {
	id       matrix.UserID
	what     string
	password string // empty if the account was made elsewhere
}

// examplePerson is somebody of the example, with what the directory says of them. Who has no password is there to be found.
type examplePerson struct {
	localpart, name, what string
	role                  httpapi.Role
	title, department     string
	phone                 string // E.164 without the plus; the numbers are of ranges that nobody has
	signsIn               bool
}

var (
	examplePeople = []examplePerson{
		{"alice", "Alice", "owner of the organisation, and operator", httpapi.RoleOwner, "Managing director", "Management", "493023125001", true},
		{"bob", "Bob", "member", httpapi.RoleNone, "Engineer", "Development", "493023125002", true},
		{"jorg.muller", "Jörg Müller", "", httpapi.RoleNone, "Accountant", "Finance", "493023125003", false},
		{"zoe.laurent", "Zoé Laurent", "", httpapi.RoleNone, "Head of sales", "Sales", "493023125004", false},
		{"andrzej.nowak", "Andrzej Nowak", "", httpapi.RoleNone, "Support", "Customers", "493023125005", false},
	}
	examplePartners = []examplePerson{
		{"dana", "Dana", "owner of the linked organisation", httpapi.RoleOwner, "Project lead", "Projects", "442079460001", true},
		{"erin.obrien", "Erin O’Brien", "", httpapi.RoleNone, "Architect", "Projects", "442079460002", false},
		{"kenji.sato", "佐藤 健二 (Kenji Sato)", "", httpapi.RoleNone, "Surveyor", "Projects", "442079460003", false},
	}
)

// seed makes two linked organisations with people in their directories, and a room, unless they are there already. Passwords are random
// and kept in a file, to be printed at each start.
func (a *app) seed(ctx context.Context, dataDir string) (exampleOrganisation, error) {
	domain := hostedDomains(a.cfg)[0]
	partner := "partner." + domain
	if err := a.seedMessages(ctx, store.DefaultOrganisation); err != nil {
		return exampleOrganisation{}, err
	}
	example := exampleOrganisation{file: filepath.Join(dataDir, "dev-users.txt"), room: matrix.RoomAlias("#welcome:" + string(domain))}
	passwords, err := examplePasswords(a.cfg, example.file)
	if err != nil {
		return example, err
	}
	if err := a.seedPeople(ctx, &example, domain, examplePeople, passwords); err != nil {
		return example, err
	}
	linked, err := a.seedPartner(ctx, partner, passwords)
	if err != nil {
		return example, err
	}
	if linked {
		if err := a.seedPeople(ctx, &example, partner, examplePartners, passwords); err != nil {
			return example, err
		}
	}
	return example, a.seedRoom(ctx, example)
}

// seedPeople makes accounts with all that the directory has of them, unless they are there.
func (a *app) seedPeople(ctx context.Context, example *exampleOrganisation, domain matrix.ServerName, list []examplePerson, passwords map[string]string) error {
	for _, p := range list {
		user := exampleUser{id: matrix.UserID("@" + p.localpart + ":" + string(domain)), what: p.what, password: passwords[p.localpart]}
		account := auth.NewAccount{
			Localpart: p.localpart, Domain: domain, Password: user.password, DisplayName: p.name, Role: p.role,
			ThreePIDs: []store.ThreePID{{Medium: "email", Address: p.localpart + "@" + exampleMail(domain)}, {Medium: "msisdn", Address: p.phone}},
		}
		_, err := a.accounts.Create(ctx, account)
		e, refused := matrix.AsError(err)
		switch {
		case refused && e.Code == matrix.ErrUserInUse && p.signsIn:
			err = a.forgetWrongPassword(ctx, &user)
		case refused && e.Code == matrix.ErrUserInUse:
			err = nil
		case err == nil:
			err = a.store.Write(ctx, func(tx *store.Tx) error {
				return tx.PutPerson(ctx, user.id, store.PersonFields{Title: p.title, Department: p.department})
			})
		}
		if err != nil {
			return err
		}
		if p.signsIn {
			example.users = append(example.users, user)
		}
	}
	return nil
}

// exampleMail is the domain of mail addresses, which no mail can be sent to.
func exampleMail(domain matrix.ServerName) string {
	host, _, _ := strings.Cut(string(domain), ":")
	return host + ".example"
}

// seedPartner makes the other organisation and links the two; false: the data is of before there were linked organisations, or the name is
// none that an organisation can have, and stays as it is.
func (a *app) seedPartner(ctx context.Context, domain matrix.ServerName, passwords map[string]string) (bool, error) {
	_, err := a.store.GetHostedDomain(ctx, domain)
	if !errors.Is(err, store.ErrNotFound) {
		return err == nil, err
	}
	owner := examplePartners[0]
	if passwords[owner.localpart] == "" {
		return false, nil
	}
	made, err := a.admin.CreateOrganisation(ctx, admin.AtTheMachine, admin.NewOrganisation{
		Name: "Partner", Domain: string(domain), DefaultRegion: "GB",
		Owner: admin.NewOwner{Localpart: owner.localpart, DisplayName: owner.name, Password: passwords[owner.localpart]},
	})
	if err != nil {
		return false, err
	}
	err = a.store.Write(ctx, func(tx *store.Tx) error {
		return tx.PutPerson(ctx, made.Owner.UserID, store.PersonFields{Title: owner.title, Department: owner.department})
	})
	if err != nil {
		return false, err
	}
	everything := &store.Sharing{Name: true, Avatar: true, Email: true, Phone: true, Presence: true, PhonePresence: true, Work: true, Invite: true}
	name, region := "Example", "DE"
	_, err = a.admin.ChangeOrganisation(ctx, admin.AtTheMachine, store.DefaultOrganisation, admin.OrganisationChange{Name: &name, DefaultRegion: &region})
	if err != nil {
		return false, err
	}
	if err := a.seedMessages(ctx, made.ID); err != nil {
		return false, err
	}
	link, err := a.admin.ProposeLink(ctx, admin.AtTheMachine, store.DefaultOrganisation, admin.NewLink{Domain: string(domain), Gives: everything})
	if err != nil {
		return false, err
	}
	_, err = a.admin.AcceptLink(ctx, admin.AtTheMachine, made.ID, link.ID, everything)
	return true, err
}

// exampleCountries are those that an example organisation invites people in. All it sends is in the development inbox and costs nothing.
var exampleCountries = []string{
	"AT", "BE", "CA", "CH", "CZ", "DE", "DK", "ES", "FI", "FR", "GB", "GR", "IE", "IT", "LU", "NL", "NO", "PL", "PT", "SE", "US",
}

// seedMessages lets an organisation send short messages to more countries than its own, unless it has decided.
func (a *app) seedMessages(ctx context.Context, organisation int64) error {
	return a.store.Write(ctx, func(tx *store.Tx) error {
		if decided, err := tx.GetPolicy(ctx, organisation, outbox.PolicyName); err != nil || decided != nil {
			return err
		}
		policy, err := json.Marshal(outbox.Policy{Countries: exampleCountries})
		if err != nil {
			return err
		}
		return tx.PutPolicy(ctx, organisation, outbox.PolicyName, policy)
	})
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
		text = fmt.Appendf(nil, "alice %s\nbob %s\ndana %s\n", admin.NewPassword(), admin.NewPassword(), admin.NewPassword())
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

// print writes the summary of the start.
func (e exampleOrganisation) print(w io.Writer, cfg *config.Config, url string) {
	fmt.Fprintf(w, "\nRoomline is running.\n\n  Homeserver   %s   (server name: %s)\n", url, cfg.ServerName)
	for _, u := range e.users {
		password := "password  " + u.password
		if u.password == "" {
			password = "password changed; give a new one with: roomline user password"
		}
		fmt.Fprintf(w, "  User         %-26s %-34s %s\n", u.id, password, u.what)
	}
	fmt.Fprintf(w, "  Room         %-26s alice and bob are in it\n", e.room)
	alice := e.users[0]
	fmt.Fprintf(w, `
  With a Matrix client:  in Element (desktop or https://app.element.io) choose "Sign in", change the homeserver
                         to %[1]s, and sign in as alice.
  With curl:             curl -s %[1]s/_matrix/client/v3/login -d '{"type": "m.login.password",
                           "identifier": {"type": "m.id.user", "user": "alice"}, "password": "%[2]s"}'
  The directory:         search for "zoe", "sales", "+44 20 7946 0002" or "685537" (Müller on a keypad) in a
                         client; Dana's people are found because the two organisations are linked. In curl: POST %[1]s/_matrix/client/v3/user_directory/search
  An address book:       CardDAV at %[1]s/_roomline/dav/ for phones and other programs. The password for a device:
                         curl -s %[1]s/_roomline/client/v1/app_passwords -H "Authorization: Bearer TOKEN" -d '{"name": "phone"}'
  Guests:                invite a mail address or a phone number from a client that can, or by "!invite anna@example.com" in a room that is
                         not encrypted; what would be sent is in %[1]s/_roomline/dev/inbox, and its links work
  In a browser:          %[1]s/i is a client of its own: sign in as alice, and invite people by address or by link
  Meetings:              in %[1]s/i choose a room, "Meet now", and have somebody come by a link in another browser
  Administration:        docs/operator.md, docs/admin.md and %[1]s/_roomline/admin/v1/openapi.json, with Alice's token
  More users:            bin/roomline user create --dev --data %[3]s --server-name %[4]s NAME
  Health and figures:    %[1]s/readyz  and  %[1]s/metrics
  The data:              %[3]s   (passwords in %[5]s; remove the folder to begin again)
  Stop:                  Ctrl-C

`, url, alice.password, cfg.DataDir, cfg.ServerName, e.file)
}
