package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Meetings are calls of more than two, with picture, sound and shared screens.
type Meetings struct {
	// LiveKit is the media server. Without url and embedded there are no meetings.
	LiveKit LiveKit `yaml:"livekit"`

	// Recordings are of meetings, by LiveKit Egress, which the operator runs beside LiveKit. docs/moderation.md says who may have one made.
	Recordings Recordings `yaml:"recordings"`
}

// Recordings is a bucket for recordings of meetings. Egress writes to it, this server deletes from it.
type Recordings struct {
	// Bucket has to exist. Empty: LiveKit records nothing.
	Bucket string `yaml:"bucket"`

	// Endpoint is the server's address, for Egress and for this server.
	Endpoint string `yaml:"endpoint" example:"https://minio.internal:9000"`

	// Region of the bucket.
	Region string `yaml:"region"`

	// PathStyle puts the bucket into the path (MinIO) and not into the host name (AWS).
	PathStyle bool `yaml:"path_style"`

	// AccessKey and secret_key are those of a user who may write and delete in the bucket.
	AccessKey string `yaml:"access_key"`

	// SecretKey belongs to access_key.
	SecretKey Secret `yaml:"secret_key"`

	// KeepFor is after how long a recording is deleted.
	KeepFor time.Duration `yaml:"keep_for"`
}

// Enabled reports whether there are meetings.
func (m *Meetings) Enabled() bool { return m.LiveKit.URL != "" || m.LiveKit.Embedded }

// LiveKit is the media server, which passes on what cameras, microphones and screens send. docs/livekit.md says how it is set up.
type LiveKit struct {
	// URL is where this server reaches LiveKit, http://host:7880. LiveKit has to be configured with room.auto_create: false, and with a webhook
	// to /_roomline/livekit/webhook of this server. Empty: there is none, or it is embedded.
	URL string `yaml:"url"`

	// PublicURL is where clients reach LiveKit, wss://livekit.example.org. Empty: url.
	PublicURL string `yaml:"public_url"`

	// Keys are the API keys of LiveKit. The first one signs; all are believed. To replace a key, put the new one first, restart all, and remove
	// the old one an hour later. Embedded: empty, a key is made of signing_keys.encryption_key.
	Keys []LiveKitKey `yaml:"keys"`

	// Timeout is how long LiveKit may take to answer a question of this server. Whoever waits for the answer is told after it that there are no meetings
	// just now.
	Timeout time.Duration `yaml:"timeout"`

	// Embedded runs LiveKit as a child of this process. Clients reach it through the listeners of this server, below
	// <public_base_url>/_roomline/livekit, so that nothing else has to be set up but the two ports. It is for a server that is one process; in
	// dev mode it is on unless there is a url.
	Embedded bool `yaml:"embedded"`

	// UDPPort is where the embedded LiveKit takes pictures and sound. Clients have to reach it.
	UDPPort int `yaml:"udp_port"`

	// TCPPort is for clients whose network lets no UDP pass. 0: none. On the loopback there is none either.
	TCPPort int `yaml:"tcp_port"`

	// NodeIP is the address at which clients reach the two ports. Behind a NAT it is the public one. Empty: that of the first listener which
	// serves client, or else the address that this machine reaches others with.
	NodeIP string `yaml:"node_ip"`
}

// LiveKitKey is an API key of LiveKit.
type LiveKitKey struct {
	// Key is its name.
	Key string `yaml:"key" example:"roomline"`

	// Secret has at least 32 characters (openssl rand -base64 32).
	Secret Secret `yaml:"secret"`
}

func defaultMeetings() Meetings {
	return Meetings{LiveKit: LiveKit{Timeout: 1500 * time.Millisecond, UDPPort: 7882, TCPPort: 7881}, Recordings: Recordings{Region: "us-east-1", PathStyle: true, KeepFor: 90 * 24 * time.Hour}}
}

func (c *Config) checkMeetings(l *complaints) {
	k := &c.Meetings.LiveKit
	const field = "meetings.livekit"
	if r := &c.Meetings.Recordings; r.Bucket != "" {
		if !isBaseURL(r.Endpoint) {
			l.add("meetings.recordings.endpoint", "must be an http or https URL, not %q", r.Endpoint)
		}
		if r.AccessKey == "" || r.SecretKey == "" {
			l.add("meetings.recordings", "needs access_key and secret_key")
		}
		if r.KeepFor < time.Minute {
			l.add("meetings.recordings.keep_for", "must be at least a minute, not %s", r.KeepFor)
		}
	}
	if k.URL != "" && k.Embedded {
		l.add(field+".embedded", "can't be used with url: LiveKit runs either here or there")
	}
	for name, value := range map[string]string{"url": k.URL, "public_url": k.PublicURL} {
		if value != "" && !isLiveKitURL(value) {
			l.add(field+"."+name, "must be an http, https, ws or wss URL without query, not %q", value)
		}
	}
	if k.PublicURL != "" && k.URL == "" {
		l.add(field+".public_url", "needs url; an embedded LiveKit is reached at public_base_url")
	}
	if k.Embedded && c.PublicBaseURL == "" && !c.Dev {
		l.add(field+".embedded", "needs public_base_url, where clients reach it")
	}
	if k.Timeout < 100*time.Millisecond || k.Timeout > time.Minute {
		l.add(field+".timeout", "must be between 100ms and 1m, not %s", k.Timeout)
	}
	if k.Embedded && (k.UDPPort < 1 || k.UDPPort > 65535) {
		l.add(field+".udp_port", "must be between 1 and 65535, not %d", k.UDPPort)
	}
	if k.TCPPort < 0 || k.TCPPort > 65535 {
		l.add(field+".tcp_port", "must be between 0 and 65535, not %d", k.TCPPort)
	}
	if ip, err := netip.ParseAddr(k.NodeIP); k.NodeIP != "" && (err != nil || ip.IsUnspecified()) {
		l.add(field+".node_ip", "must be an address, not %q", k.NodeIP)
	}
	if c.Meetings.Enabled() {
		k.checkKeys(l, field)
	}
}

func (k *LiveKit) checkKeys(l *complaints, field string) {
	if len(k.Keys) > 2 || len(k.Keys) == 0 && !k.Embedded {
		l.add(field+".keys", "must be one, or two while one is replaced, not %d", len(k.Keys))
	}
	for i, key := range k.Keys {
		at := fmt.Sprintf("%s.keys[%d]", field, i)
		if key.Key == "" {
			l.add(at+".key", "is missing")
		}
		if len(key.Secret) < 32 {
			l.add(at+".secret", "must have at least 32 characters")
		}
		if i > 0 && key.Key == k.Keys[0].Key {
			l.add(at+".key", "%q is there twice", key.Key)
		}
	}
}

func isLiveKitURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "ws" || u.Scheme == "wss"
}
