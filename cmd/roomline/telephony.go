package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/roomline/roomline/appservices"
	words "github.com/roomline/roomline/internal/commands"
)

// telephonyRegistration prints a registration with new tokens, for appservices.registrations and for the bridge's own configuration.
func telephonyRegistration(c *call) error {
	fs := c.flags()
	url := fs.String("url", "", "where the server reaches the bridge: its listen `ADDRESS` as a URL; empty: it is told of no commands")
	if _, err := c.parse(fs, 0); err != nil {
		return err
	}
	token := func() string {
		var b [32]byte
		rand.Read(b[:])
		return base64.RawURLEncoding.EncodeToString(b[:])
	}
	registration := map[string]any{
		"id": "telephony", "url": nil, "as_token": token(), "hs_token": token(), "sender_localpart": "telephony", "rate_limited": false,
		"namespaces": map[string]any{"users": []any{}, "aliases": []any{}, "rooms": []any{}},
		"roomline": map[string]any{
			"organisation": "*", "grants": []string{appservices.GrantTelephony},
			"view": map[string]any{"event_types": telephonyEvents, "act": telephonyActs, "outside": map[string]any{"body_prefixes": words.Prefixes(), "event_types": telephonyOutside}},
		},
	}
	if *url != "" {
		registration["url"] = *url
		registration["namespaces"].(map[string]any)["rooms"] = []any{map[string]any{"exclusive": false, "regex": "!.*"}}
	}
	text, err := yaml.Marshal(registration)
	if err != nil {
		return fmt.Errorf("write the registration: %w", err)
	}
	_, err = c.stdout.Write(text)
	return err
}
