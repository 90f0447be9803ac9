package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// keyQuery asks for the keys of a large room's members, as a client does before it encrypts its first message to them.
func (b *bench) keyQuery() ([]figure, error) {
	const users, devices, goal = 1000, 3, 100 * time.Millisecond
	people, err := b.people(1)
	if err != nil {
		return nil, err
	}
	names, err := b.fillKeys(users, devices)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string][]string, users)
	for _, name := range names {
		wanted[name] = []string{}
	}
	request, err := json.Marshal(map[string]any{"device_keys": wanted, "timeout": 10_000})
	if err != nil {
		return nil, err
	}
	var answers, queries []time.Duration
	c := newClient(b.server.address, people[0].token)
	defer c.close()
	for range 15 {
		began := time.Now()
		answer, err := c.do("POST", "/_matrix/client/v3/keys/query", request)
		if err != nil {
			return nil, err
		}
		answers = append(answers, time.Since(began))
		if n := bytes.Count(answer, []byte(`"m.megolm.v1.aes-sha2"`)); n != users*devices {
			return nil, fmt.Errorf("the answer has %d devices, want %d", n, users*devices)
		}
		began = time.Now()
		if _, _, err := readAll(b.data, `SELECT json FROM device_keys WHERE user_id = ANY ($1)`, pq.Array(names)); err != nil {
			return nil, err
		}
		queries = append(queries, time.Since(began))
	}
	took, read := percentile(answers, 0.5), percentile(queries, 0.5)
	return []figure{{
		what:      "keys/query, 1,000 users × 3 devices",
		measured:  short(took),
		yardstick: fmt.Sprintf("SQL, the keys alone: %s", short(read)),
		ratio:     fmt.Sprintf("%.2f ×", float64(took)/float64(read)),
		goal:      "≤ 100 ms",
		met:       took <= goal,
	}}, nil
}

// fillKeys makes users with devices, their keys and cross-signing keys. The database is written to directly: what is measured is the
// reading.
func (b *bench) fillKeys(users, devices int) ([]string, error) {
	names := make([]string, users)
	for i := range names {
		names[i] = fmt.Sprintf("@keys%d:%s", i, serverName)
	}
	for _, statement := range []string{
		`INSERT INTO users (user_id, organisation_id, created_ts) SELECT u, 1, 0 FROM unnest($1::text[]) u WHERE $2 > 0 ON CONFLICT DO NOTHING`,
		`INSERT INTO devices (user_id, device_id, display_name, created_ts)
		 SELECT u, 'DEVICE' || d, 'Element on Linux', 0 FROM unnest($1::text[]) u, generate_series(1, $2) d ON CONFLICT DO NOTHING`,
		`INSERT INTO device_keys (user_id, device_id, json)
		 SELECT u, 'DEVICE' || d, convert_to('{"algorithms":["m.olm.v1.curve25519-aes-sha2","m.megolm.v1.aes-sha2"],"device_id":"DEVICE' || d
		   || '","keys":{"curve25519:DEVICE' || d || '":"' || repeat('c', 43) || '","ed25519:DEVICE' || d || '":"' || repeat('e', 43)
		   || '"},"signatures":{"' || u || '":{"ed25519:' || repeat('s', 43) || '":"' || repeat('S', 86) || '","ed25519:DEVICE' || d || '":"'
		   || repeat('D', 86) || '"}},"user_id":"' || u || '"}', 'UTF8')
		 FROM unnest($1::text[]) u, generate_series(1, $2) d ON CONFLICT DO NOTHING`,
		`INSERT INTO cross_signing_keys (user_id, usage, public_key, json)
		 SELECT u, k, k, convert_to('{"keys":{"ed25519:' || repeat('k', 43) || '":"' || repeat('k', 43) || '"},"signatures":{"' || u || '":{"ed25519:'
		   || repeat('m', 43) || '":"' || repeat('M', 86) || '"}},"usage":["' || k || '"],"user_id":"' || u || '"}', 'UTF8')
		 FROM unnest($1::text[]) u, unnest('{master,self_signing,user_signing}'::text[]) k WHERE $2 > 0 ON CONFLICT DO NOTHING`,
	} {
		if _, err := b.data.Exec(statement, pq.Array(names), devices); err != nil {
			return nil, err
		}
	}
	_, err := b.data.Exec(`ANALYZE users, devices, device_keys, cross_signing_keys`)
	return names, err
}
