// Package livekit is the media server of meetings in this binary: LiveKit as a child process, told by its standard input how to run.
//
// It is a process of its own so that a fault in it, or its memory, is not the homeserver's: LiveKit keeps globals, starts goroutines that
// never end, and a panic in it would end the chat too.
//
// It is in this binary, and not in one of its own, so that a server that is one file can have meetings, and both are always of the same
// version. Measured on two cores: the binary has 101.9 MB with it and 68.9 MB without (74.1 and 50.9 MB stripped), of which pages are read
// only where they are used; `roomline version` takes 0.02 s either way (all package initialisation 23 ms with, 25 ms without, 0.4 MB more heap);
// an idle `serve` has as many goroutines (68) and as much memory of its own, and 8 MB more of the file mapped (48 and 40 MB). That is what a
// process pays that never runs LiveKit. The child itself has 62 MB idle.
//
// Start reading at Run, which is the child; supervisor.go is the parent's side.
package livekit

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
)

// Config is what the child reads from its standard input, as JSON.
type Config struct {
	// Port is where it is asked, on Bind.
	Port int    `json:"port"`
	Bind string `json:"bind"`
	// UDPPort takes media, TCPPort too, unless it is 0.
	UDPPort int `json:"udp_port"`
	TCPPort int `json:"tcp_port,omitempty"`
	// NodeIP is the address that clients are told. A loopback address keeps everything on this machine.
	NodeIP   string `json:"node_ip"`
	Loopback bool   `json:"loopback,omitempty"`
	// TURN are relays that clients are told.
	TURN []TURN `json:"turn,omitempty"`
	// Keys are secrets by their names. WebhookKey signs what is told to Webhooks.
	Keys       map[string]string `json:"keys"`
	WebhookKey string            `json:"webhook_key"`
	Webhooks   []string          `json:"webhooks,omitempty"`
	// LogLevel and LogFormat are those of the server.
	LogLevel  string `json:"log_level"`
	LogFormat string `json:"log_format"`
}

// TURN is a relay, with a secret to make credentials of, or with the credentials. The names are LiveKit's.
type TURN struct {
	Host       string `json:"host"`
	Port       int    `json:"port"`
	Protocol   string `json:"protocol"` // udp, tcp or tls
	Secret     string `json:"secret,omitempty"`
	Username   string `json:"username,omitempty"`
	Credential string `json:"credential,omitempty"`
}

func readConfig(r io.Reader) (*Config, error) {
	c := &Config{LogLevel: "info", LogFormat: "text"}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("the configuration on the standard input: %w", err)
	}
	return c, nil
}

// body is LiveKit's own configuration. JSON is YAML.
func (c *Config) body() ([]byte, error) {
	rtc := map[string]any{"udp_port": c.UDPPort, "tcp_port": c.TCPPort, "node_ip": c.NodeIP, "use_external_ip": false}
	if c.Loopback {
		rtc["enable_loopback_candidate"] = true
		rtc["interfaces"] = map[string]any{"includes": []string{"lo"}}
	}
	if len(c.TURN) > 0 {
		rtc["turn_servers"] = c.TURN
	} else {
		// LiveKit would tell clients to ask servers of others for their addresses. It is reached at an address of its own, so nobody needs them.
		// Its own port would not do for an answer: browsers take all that comes from there for STUN, media too.
		rtc["stun_servers"] = []string{net.JoinHostPort(c.NodeIP, "3478")}
	}
	all := map[string]any{
		"port": c.Port, "bind_addresses": []string{c.Bind}, "rtc": rtc, "keys": c.Keys,
		// Rooms are made by the homeserver when somebody who may join asks to, and people unmute themselves.
		"room": map[string]any{"auto_create": false, "enable_remote_unmute": false, "departure_timeout": 20},
		// LiveKit asks the machine how busy it is and takes no more rooms above a bound. Here there is no other node to go to.
		"node_selector": map[string]any{"kind": "any"},
	}
	if len(c.Webhooks) > 0 {
		all["webhook"] = map[string]any{"api_key": c.WebhookKey, "urls": c.Webhooks}
	}
	return json.Marshal(all)
}
