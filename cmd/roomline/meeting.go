package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// asUser is somebody in whose name a command does something.
func (a *app) asUser(ctx context.Context, user matrix.UserID) (*httpapi.Requester, error) {
	u, err := a.store.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) || err == nil && (u.Deactivated() || u.Locked) {
		return nil, fmt.Errorf("there is no account %s that could do that", user)
	}
	if err != nil {
		return nil, err
	}
	return &httpapi.Requester{
		User: user, Org: u.OrganisationID, Role: httpapi.Role(u.Role), Admin: u.Role == string(httpapi.RoleOwner), Guest: u.Guest, Suspended: u.Suspended, Unlimited: true,
	}, nil
}

// createMeeting arranges a meeting, in the name of a member.
func createMeeting(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	fs.StringVar(&from.listen, "listen", "", "with --dev: the `ADDRESS` that the server listens on, if it is another one than it has noted")
	var r schedule.Request
	as := fs.String("as", "", "the `USER` who arranges it")
	fs.StringVar(&r.Title, "title", "", "what it is called")
	fs.StringVar(&r.Start, "start", "", "when it begins, as 2026-12-01T15:00")
	fs.StringVar(&r.End, "end", "", "when it ends")
	fs.StringVar(&r.Timezone, "timezone", "UTC", "the `ZONE` of start and end, as Europe/Brussels")
	fs.StringVar(&r.Recurrence, "recurrence", "", "when it takes place again, an `RRULE` as FREQ=WEEKLY;COUNT=10")
	fs.BoolVar(&r.Link, "link", false, "make a link to pass on, and print it")
	fs.Func("invite", "`WHOM` to ask: a user id, an e-mail address or a phone number; as often as there are people", func(whom string) error {
		i := schedule.Invitee{UserID: whom}
		if !strings.HasPrefix(whom, "@") {
			i = schedule.Invitee{Medium: mediumOf(whom), Address: whom}
		}
		r.Invitees = append(r.Invitees, i)
		return nil
	})
	_, cfg, err := c.parseWithConfig(fs, &from, 0)
	if err != nil {
		return err
	}
	if *as == "" || r.Title == "" {
		return errors.New("--as and --title are needed")
	}
	localpart, domain, err := localUser(cfg, *as)
	if err != nil {
		return err
	}
	if err := from.findServer(cfg); err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		who, err := a.asUser(ctx, matrix.UserID("@"+localpart+":"+string(domain)))
		if err != nil {
			return err
		}
		m, problems, err := a.schedule.Create(ctx, who, r)
		if err != nil {
			return readable(err)
		}
		fmt.Fprintf(c.stdout, "the meeting is called %s; its room is %s\n", m.ID, m.RoomID)
		if link := a.schedule.Link(&m); link != "" {
			fmt.Fprintln(c.stdout, link)
		}
		for _, p := range problems {
			fmt.Fprintf(c.stderr, "not asked: %s%s: %s\n", p.UserID, p.Address, p.Error)
		}
		return nil
	})
}

// listMeetings lists the meetings of an organisation that are on or to come.
func listMeetings(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	organisation := fs.String("organisation", "", "the organisation: a `DOMAIN` of it, or its number")
	past := fs.Bool("past", false, "those that are over, the newest first")
	_, cfg, err := c.parseWithConfig(fs, &from, 0)
	if err != nil {
		return err
	}
	if *organisation == "" {
		return errors.New("--organisation is missing")
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		org, err := organisationNamed(ctx, a, *organisation)
		if err != nil {
			return readable(err)
		}
		list, err := a.store.ListMeetings(ctx, store.MeetingFilter{OrganisationID: org, Upcoming: !*past, Past: *past}, 1000)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "MEETING\tKIND\tNEXT\tORGANISER\tROOM\tTITLE")
		for i := range list {
			m, next := &list[i], "-"
			if m.NextStartTS != 0 {
				next = m.NextStartTS.Time().Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, m.Kind, next, m.Organiser, m.RoomID, m.Title)
		}
		return w.Flush()
	})
}

// cancelMeeting cancels a meeting.
func cancelMeeting(c *call) error {
	fs := c.flags()
	var from source
	from.register(fs)
	given, cfg, err := c.parseWithConfig(fs, &from, 1)
	if err != nil {
		return err
	}
	return c.withApp(cfg, func(ctx context.Context, a *app) error {
		m, err := a.store.GetMeeting(ctx, given[0])
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no meeting %s", given[0])
		}
		if err != nil {
			return err
		}
		if err := a.schedule.Cancel(ctx, "operator", &m); err != nil {
			return readable(err)
		}
		_, err = fmt.Fprintf(c.stdout, "cancelled %s\n", m.ID)
		return err
	})
}
