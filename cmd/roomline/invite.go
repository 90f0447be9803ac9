package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// invite asks somebody outside into a room, in the name of a member.
func invite(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	fs.StringVar(&from.listen, "listen", "", "with --dev: the `ADDRESS` that the server listens on, if it is another one than it has noted")
	var n invitations.Request
	room := fs.String("room", "", "the `ROOM`: its id or an alias")
	as := fs.String("as", "", "the `USER` who invites, a member of the room who may")
	link := fs.Bool("link", false, "make a link to pass on, and print it")
	uses := fs.Int("uses", 1, "with --link: how many may come by it")
	holds := fs.Duration("for", 0, "for how long the link holds, such as 72h; without it as long as the organisation has decided")
	stay := fs.Duration("stay", 0, "how long a guest may stay; without it as long as the organisation has decided")
	fs.StringVar(&n.Language, "language", "", "what the message is written in: en, fr, nl or de")
	observer := fs.Bool("observer", false, "a guest who may not send")
	operands := 1
	if slices.ContainsFunc(c.args, func(arg string) bool {
		return arg == "--link" || arg == "-link" || strings.HasSuffix(arg, "-link=true")
	}) {
		operands = 0
	}
	given, cfg, err := c.parseWithConfig(fs, &from, operands)
	if err != nil {
		return err
	}
	if *room == "" || *as == "" {
		return errors.New("--room and --as are needed")
	}
	if !*link {
		n.Medium, n.Address = mediumOf(given[0]), given[0]
	} else if *uses != 1 {
		n.Uses = uses
	}
	for _, one := range []struct {
		d  time.Duration
		to **int64
	}{{*holds, &n.ExpiresIn}, {*stay, &n.GuestLifetime}} {
		if one.d != 0 {
			*one.to = new(one.d.Milliseconds())
		}
	}
	if *observer {
		n.Role = invitations.Observer
	}
	localpart, domain, err := localUser(cfg, *as)
	if err != nil {
		return err
	}
	if err := from.findServer(cfg); err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		return c.inviteAs(ctx, a, matrix.UserID("@"+localpart+":"+string(domain)), *room, n)
	})
}

// mediumOf says what an address is that somebody typed.
func mediumOf(address string) string {
	if strings.Contains(address, "@") {
		return outbox.Email
	}
	return outbox.Msisdn
}

func (c *call) inviteAs(ctx context.Context, a *app, user matrix.UserID, room string, n invitations.Request) error {
	who, err := a.asUser(ctx, user)
	if err != nil {
		return err
	}
	id := matrix.RoomID(room)
	if strings.HasPrefix(room, "#") {
		alias, err := a.store.GetAlias(ctx, matrix.RoomAlias(room), user)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no alias %s", room)
		}
		if err != nil {
			return err
		}
		id = alias.RoomID
	}
	done, err := a.invitations.Invite(ctx, who, id, n)
	if err != nil {
		return readable(err)
	}
	switch {
	case done.User != "":
		_, err = fmt.Fprintf(c.stdout, "invited %s\n", done.User)
	case done.Link != "":
		_, err = fmt.Fprintln(c.stdout, done.Link)
	default:
		_, err = fmt.Fprintf(c.stdout, "invited %s; the invitation is called %s\n", n.Address, done.Invitation.ID)
	}
	return err
}
