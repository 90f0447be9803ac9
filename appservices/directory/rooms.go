package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// rooms makes the rooms of groups, as the bot of the application service.
type rooms struct {
	bot    *appservice.IntentAPI
	domain string
}

func newRooms(c *Config, registration *appservice.Registration, client *http.Client) (*rooms, error) {
	service, err := appservice.CreateFull(appservice.CreateOpts{
		Registration: registration, HomeserverDomain: c.Domain, HomeserverURL: c.Homeserver.URL,
	})
	if err != nil {
		return nil, fmt.Errorf("registration: %w", err)
	}
	service.HTTPClient = client
	return &rooms{bot: service.BotIntent(), domain: c.Domain}, nil
}

// check asks whether the homeserver knows the application service.
func (r *rooms) check(ctx context.Context) error {
	who, err := r.bot.Whoami(ctx)
	if err != nil {
		return fmt.Errorf("ask the homeserver who we are: %w", err)
	}
	if domain := who.UserID.Homeserver(); domain != r.domain {
		return fmt.Errorf("domain: the application service is of %s, not of %s", domain, r.domain)
	}
	return nil
}

// ensure returns the room of a group, and makes it if there is none. Its alias says which group it is of, so that a room whose id was
// forgotten is found again.
func (r *rooms) ensure(ctx context.Context, g *Group, c *RoomConfig) (string, error) {
	local := "directory_" + aliasPart(g.ID)
	alias := id.NewRoomAlias(local, r.domain)
	found, err := r.bot.ResolveAlias(ctx, alias)
	if err == nil {
		return string(found.RoomID), nil
	}
	if !errors.Is(err, mautrix.MNotFound) {
		return "", fmt.Errorf("look for the room of group %s: %w", g.Name, err)
	}
	req := &mautrix.ReqCreateRoom{
		Name: strings.ReplaceAll(c.Name, "{group}", g.Name), Preset: "private_chat", RoomAliasName: local, Visibility: "private",
	}
	if c.Space {
		req.CreationContent = map[string]any{"type": event.RoomTypeSpace}
	}
	if c.Encrypted {
		req.InitialState = []*event.Event{{Type: event.StateEncryption, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}}
	}
	made, err := r.bot.CreateRoom(ctx, req)
	if err != nil {
		return "", fmt.Errorf("make the room of group %s: %w", g.Name, err)
	}
	return string(made.RoomID), nil
}

// put hangs a room into a space.
func (r *rooms) put(ctx context.Context, space, child string) error {
	_, err := r.bot.SendStateEvent(ctx, id.RoomID(space), event.StateSpaceChild, child, &event.SpaceChildEventContent{Via: []string{r.domain}})
	return err
}

// aliasPart is what of a group's id can stand in an alias.
func aliasPart(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			return c
		}
		return '_'
	}, fold(strings.ToLower(text)))
}
