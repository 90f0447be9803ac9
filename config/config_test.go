package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const minimal = `server_name: example.org
listeners:
  - address: 127.0.0.1:8008
    serve: [client, federation]
`

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return Load(write(t, "roomline.yaml", text, 0o600))
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShortFileMeansTheDefaults(t *testing.T) {
	c := mustLoad(t, minimal)
	if c.Registration.Mode != RegistrationOff || !c.RateLimits.Enabled || c.Federation.AllowPrivateAddresses || c.Dev {
		t.Fatalf("%+v", c)
	}
	if got := c.Domains(); len(got) != 1 || got[0] != "example.org" {
		t.Fatalf("domains %v", got)
	}
}

func TestAllKeysThatOtherToolsRelyOn(t *testing.T) {
	c := mustLoad(t, `
server_name: hs1
database: {url: "postgres://u:p@127.0.0.1/db?sslmode=disable"}
listeners:
  - {address: "127.0.0.1:8008", serve: [client]}
  - {address: "127.0.0.1:8448", tls: {cert: a.crt, key: a.key}, serve: [federation]}
  - {address: "127.0.0.1:9000", serve: [admin]}
registration: {mode: open, shared_secret: complement}
rate_limits: {enabled: false}
federation: {enabled: true, ca_file: ca.crt, allow_private_addresses: true}
appservices: {registrations: [one.yaml, two.yaml]}
data_dir: /var/lib/roomline
dev: false
`)
	if c.Database.URL.Reveal() != "postgres://u:p@127.0.0.1/db?sslmode=disable" || c.Registration.Mode != RegistrationOpen ||
		c.Registration.SharedSecret.Reveal() != "complement" || c.RateLimits.Enabled || c.Federation.CAFile != "ca.crt" ||
		!c.Federation.AllowPrivateAddresses || len(c.Appservices.Registrations) != 2 || !c.Listeners[1].TLS.Enabled() || c.DataDir != "/var/lib/roomline" {
		t.Fatalf("%+v", c)
	}
}

func TestDevNeedsNothingElse(t *testing.T) {
	c := mustLoad(t, "dev: true\n")
	if c.ServerName != "localhost" || c.Listeners[0].Address != "127.0.0.1:8008" || !c.Meetings.LiveKit.Embedded || c.Registration.Mode != RegistrationOff {
		t.Fatalf("%+v", c)
	}
}

// withProvider is a configuration with one provider, of which one line is replaced; that line is the last.
func withProvider(line string) string {
	fields := []string{"id: a", "name: A", "issuer: https://login.example.org", "client_id: c", "localpart_claim: sub"}
	key, _, _ := strings.Cut(line, ":")
	kept := []string{}
	for _, f := range fields {
		if !strings.HasPrefix(f, key+":") {
			kept = append(kept, f)
		}
	}
	return "public_base_url: https://m.example.org\noidc:\n  providers:\n    - {" + strings.Join(append(kept, line), ", ") + "}\n"
}

func TestSecretsOfProvidersComeFromFilesAndTheEnvironment(t *testing.T) {
	path := write(t, "secret", "from the file\n", 0o600)
	c := mustLoad(t, minimal+withProvider("client_secret_file: "+path))
	if got := c.OIDC.Providers[0].ClientSecret.Reveal(); got != "from the file" {
		t.Errorf("%q", got)
	}
	t.Setenv("ROOMLINE_OIDC_PROVIDERS_0_CLIENT_SECRET", "from the environment")
	c = mustLoad(t, minimal+withProvider("client_secret: text"))
	if got := c.OIDC.Providers[0].ClientSecret.Reveal(); got != "from the environment" {
		t.Errorf("%q", got)
	}
}

func TestMistakesAreNamedWithFieldAndLine(t *testing.T) {
	long := strings.Repeat("s", 32)
	for name, tc := range map[string]struct{ text, want string }{
		"unknown field":          {minimal + "nonsense: 1\n", ":5: nonsense: there is no such field"},
		"relay that is none":     {minimal + "turn: {uris: [\"http://x\"], username: a, password: b}\n", ":5: turn.uris[0]: must begin with turn: or turns:"},
		"relay without a secret": {minimal + "turn: {uris: [\"turn:x\"]}\n", ":5: turn: needs either a shared_secret"},
		"relay with two secrets": {minimal + "turn: {uris: [\"turn:x\"], shared_secret: s, username: a, password: b}\n", ":5: turn: needs either a shared_secret"},
		"relay for a second":     {minimal + "turn: {lifetime: 1s}\n", ":5: turn.lifetime: must be between"},
		"delay without end":      {minimal + "delayed_events: {max_delay: 9999h}\n", ":5: delayed_events.max_delay: must be between"},
		"too many delayed":       {minimal + "delayed_events: {max_scheduled: 1001}\n", ":5: delayed_events.max_scheduled: must be between"},
		"unknown nested field":   {minimal + "rate_limits:\n  enable: true\n", ":6: rate_limits.enable: there is no such field; known here: enabled, classes"},
		"rate limit field":       {minimal + "rate_limits:\n  classes:\n    send: {burts: 1}\n", ":7: rate_limits.classes.send.burts: there is no such field; known here: burst, every"},
		"rate limit burst":       {minimal + "rate_limits:\n  classes:\n    send: {burst: 0, every: 1s}\n", ":7: rate_limits.classes.send.burst: must be between 1 and"},
		"rate limit every":       {minimal + "rate_limits:\n  classes:\n    send: {burst: 1, every: 0s}\n", ":7: rate_limits.classes.send.every: must be at least"},
		"rate limit too slow":    {minimal + "rate_limits:\n  classes:\n    send: {burst: 100, every: 9999h}\n", ":7: rate_limits.classes.send.every: must be at least"},
		"not a duration":         {minimal + "rate_limits:\n  classes:\n    send: {burst: 1, every: 5}\n", ":7: rate_limits.classes.send.every: must be a duration"},
		"classes are no list":    {minimal + "rate_limits: {classes: [send]}\n", ":5: rate_limits.classes: must be a group"},
		"class twice":            {minimal + "rate_limits:\n  classes:\n    send: {burst: 1, every: 1s}\n    send: {burst: 1, every: 1s}\n", "send"},
		"exempt user":            {minimal + "rate_limits: {exempt_users: [bot]}\n", ":5: rate_limits.exempt_users[0]: must look like @user"},
		"field in another case":  {minimal + "Dev: true\n", ":5: Dev: there is no such field"},
		"field in a list":        {"server_name: a\nlisteners:\n  - address: 127.0.0.1:1\n    port: 1\n", ":4: listeners[0].port: there is no such field"},
		"twice":                  {minimal + "dev: true\ndev: false\n", "dev"},
		"not a bool":             {minimal + "dev: maybe\n", ":5: dev: must be true or false, not \"maybe\""},
		"not a number":           {minimal + "database: {pool_size: many}\n", ":5: database.pool_size: must be a whole number"},
		"pool too small":         {minimal + "database:\n  pool_size: 1\n", ":6: database.pool_size: must be between"},
		"not a list":             {minimal + "hosted_domains: example.org\n", ":5: hosted_domains: must be a list"},
		"not a group":            {minimal + "database: x\n", ":5: database: must be a group of fields"},
		"list for a value":       {minimal + "data_dir: [x]\n", ":5: data_dir: must be a single value"},
		"not YAML":               {"server_name: [\n", "not valid YAML"},
		"mode":                   {minimal + "registration:\n  mode: closed\n", ":6: registration.mode: must be off, token or open, not \"closed\""},
		"server name missing":    {"listeners: [{address: \":1\", serve: [client]}]\n", ": server_name: is missing"},
		"server name":            {strings.Replace(minimal, "example.org", "exa_mple.org", 1), ":1: server_name: \"exa_mple.org\" is not a Matrix server name"},
		"first hosted domain":    {minimal + "hosted_domains:\n  - other.org\n", ":6: hosted_domains[0]: must be the server_name"},
		"hosted domain twice":    {minimal + "hosted_domains: [example.org, a.org, a.org]\n", ":5: hosted_domains[2]: \"a.org\" is listed twice"},
		"no listeners":           {"server_name: example.org\n", ": listeners: at least one is needed"},
		"address":                {strings.Replace(minimal, "127.0.0.1:8008", "8008", 1), ":3: listeners[0].address: must be host:port"},
		"service":                {strings.Replace(minimal, "federation", "media", 1), ":4: listeners[0].serve[1]: must be client, federation or admin"},
		"no client":              {strings.Replace(minimal, "client, ", "", 1), ":2: listeners: one of them must serve client"},
		"half of tls":            {minimal + "    tls: {cert: a}\n", ":5: listeners[0].tls: needs both cert and key"},
		"database":               {minimal + "database: {url: \"mysql://secretpassword@host/db\"}\n", ":5: database.url: must begin with postgres://"},
		"encryption key":         {minimal + "signing_keys: {encryption_key: c2hvcnQ=}\n", ":5: signing_keys.encryption_key: must be 32 bytes in base64"},
		"short secret":           {minimal + "registration: {shared_secret: abc}\n", ":5: registration.shared_secret: must have at least 8"},
		"proxy":                  {minimal + "trusted_proxies: [10.0.0.0/99]\n", ":5: trusted_proxies[0]: must be an address"},
		"base url":               {minimal + "public_base_url: example.org\n", ":5: public_base_url: must be an http or https URL"},
		"contact":                {minimal + "support:\n  contacts:\n    - role: m.role.admin\n", ":7: support.contacts[0]: needs a matrix_id or an email"},
		"log level":              {minimal + "log: {level: loud}\n", ":5: log.level: must be debug"},
		"policy key":             {minimal + "policy_server:\n  public_keys: {ed25519: short}\n", ":6: policy_server.public_keys.ed25519: must be a key"},
		"policy without a key":   {minimal + "policy_server:\n  public_keys: {other: 6yhHGKhCiXTSEN2ksjV7}\n", ":6: policy_server.public_keys: need one for ed25519"},
		"oidc issuer":            {minimal + withProvider("issuer: login"), ":8: oidc.providers[0].issuer: must be an http"},
		"oidc id":                {minimal + withProvider("id: a/b"), ":8: oidc.providers[0].id: must have 1 to 255"},
		"oidc user":              {minimal + withProvider("user: maybe"), ":8: oidc.providers[0].user: must be existing-only or create"},
		"oidc domain":            {minimal + withProvider("domain: other.org"), ":8: oidc.providers[0].domain: \"other.org\" is not a hosted"},
		"oidc icon":              {minimal + withProvider("icon: https://x/y.png"), ":8: oidc.providers[0].icon: must be an mxc"},
		"oidc claims":            {minimal + withProvider("localpart_claim: \"\""), ":8: oidc.providers[0].localpart_claim: is missing"},
		"oidc without base url":  {minimal + strings.Replace(withProvider(""), "public_base_url: https://m.example.org\n", "", 1), "oidc.providers: need public_base_url"},
		"livekit twice":          {minimal + "meetings: {livekit: {url: \"http://a\", embedded: true, keys: [{key: a, secret: " + long + "}]}}\n", ":5: meetings.livekit.embedded: can't be used with url"},
		"livekit url":            {minimal + "meetings: {livekit: {url: localhost, keys: [{key: a, secret: " + long + "}]}}\n", ":5: meetings.livekit.url: must be an http"},
		"livekit public url":     {minimal + "meetings: {livekit: {url: \"http://a\", public_url: \"wss://a?b=c\", keys: [{key: a, secret: " + long + "}]}}\n", ":5: meetings.livekit.public_url: must be an http"},
		"livekit timeout":        {minimal + "meetings: {livekit: {url: \"http://a\", timeout: 2m, keys: [{key: a, secret: " + long + "}]}}\n", ":5: meetings.livekit.timeout: must be between"},
		"livekit public alone":   {minimal + "meetings: {livekit: {public_url: \"wss://a\"}}\n", ":5: meetings.livekit.public_url: needs url"},
		"livekit without a key":  {minimal + "meetings: {livekit: {url: \"http://a\"}}\n", ":5: meetings.livekit.keys: must be one"},
		"livekit secret":         {minimal + "meetings: {livekit: {url: \"http://a\", keys: [{key: a, secret: secretpassword}]}}\n", ":5: meetings.livekit.keys[0].secret: must have at least 32"},
		"livekit same key":       {minimal + "meetings: {livekit: {url: \"http://a\", keys: [{key: a, secret: " + long + "}, {key: a, secret: " + long + "}]}}\n", ":5: meetings.livekit.keys[1].key: \"a\" is there twice"},
		"livekit nowhere":        {minimal + "meetings: {livekit: {embedded: true}}\n", ":5: meetings.livekit.embedded: needs public_base_url"},
		"livekit port":           {minimal + "meetings: {livekit: {embedded: true, udp_port: 0}}\n", ":5: meetings.livekit.udp_port: must be between"},
		"livekit address":        {minimal + "meetings: {livekit: {node_ip: here}}\n", ":5: meetings.livekit.node_ip: must be an address"},
		"oidc redirect":          {minimal + "oidc: {redirect_urls: [chat]}\n", ":5: oidc.redirect_urls[0]: must be a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.text)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got  %v\nwant …%s…", err, tc.want)
			}
			if strings.Contains(err.Error(), "secretpassword") {
				t.Fatalf("the message shows a secret: %v", err)
			}
		})
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	_, err := load(t, minimal+"nonsense: 1\ndev: maybe\n")
	if err == nil || !strings.Contains(err.Error(), "nonsense") || !strings.Contains(err.Error(), "maybe") {
		t.Fatalf("%v", err)
	}
}

func TestSecretFromFile(t *testing.T) {
	path := write(t, "secret", "from the file\n", 0o600)
	c := mustLoad(t, minimal+"registration: {shared_secret_file: "+path+"}\n")
	if got := c.Registration.SharedSecret.Reveal(); got != "from the file" {
		t.Fatalf("%q", got)
	}
}

func TestSecretFileThatOthersMayReadIsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o700} {
		path := write(t, "secret", "from the file\n", 0o600)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := load(t, minimal+"registration:\n  shared_secret_file: "+path+"\n")
		if err == nil || !strings.Contains(err.Error(), ":6: registration.shared_secret_file: ") || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestSecretGivenTwiceIsRefused(t *testing.T) {
	path := write(t, "secret", "from the file\n", 0o600)
	_, err := load(t, minimal+"registration: {shared_secret: 12345678, shared_secret_file: "+path+"}\n")
	if err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Fatalf("%v", err)
	}
}

func TestSecretsFromTheEnvironmentWin(t *testing.T) {
	t.Setenv("ROOMLINE_REGISTRATION_SHARED_SECRET", "from the environment")
	t.Setenv("ROOMLINE_DATABASE_URL", "postgres://env/db")
	t.Setenv("ROOMLINE_SIGNING_KEYS_ENCRYPTION_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	c := mustLoad(t, minimal+"registration: {shared_secret: from the text}\n")
	if got := c.Registration.SharedSecret.Reveal(); got != "from the environment" {
		t.Errorf("shared secret %q", got)
	}
	if got := c.Database.URL.Reveal(); got != "postgres://env/db" {
		t.Errorf("database url %q", got)
	}
	if _, ok, err := c.SigningKeys.Bytes(); !ok || err != nil {
		t.Errorf("encryption key: %v %v", ok, err)
	}
	dev := Development()
	if err := dev.ReadEnvironment(); err != nil || dev.Database.URL.Reveal() != "postgres://env/db" {
		t.Errorf("dev: %v %q", err, dev.Database.URL.Reveal())
	}
}

func TestSecretsDoNotShowThemselves(t *testing.T) {
	c := mustLoad(t, minimal+"registration: {shared_secret: sesame-open}\n")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("configuration", "config", c, "secret", c.Registration.SharedSecret)
	shown := fmt.Sprintf("%v %+v %#v %s %q", c, c, *c, c.Registration.SharedSecret, c.Registration.SharedSecret) + log.String()
	if strings.Contains(shown, "sesame") {
		t.Fatal(shown)
	}
}

func TestServerNames(t *testing.T) {
	for name, want := range map[string]bool{
		"example.org": true, "localhost": true, "hs1": true, "localhost:8448": true, "192.0.2.1": true, "192.0.2.1:8448": true,
		"[2001:db8::1]": true, "[2001:db8::1]:8448": true, "": false, "a:b": false, "a:": false, "a b": false, "a/b": false,
		"[::1": false, "::1": false, "a:99999": false, "[1.2.3.4]": false, "@a": false, strings.Repeat("a", 256): false,
	} {
		if got := isServerName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestConfigurationInTheReadmeIsRight(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the README has no YAML")
	}
	url := write(t, "database-url", "postgres://roomline:secret@db.internal/roomline?sslmode=verify-full\n", 0o600)
	key := write(t, "encryption-key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o600)
	text = strings.NewReplacer("/etc/roomline/database-url", url, "/etc/roomline/encryption-key", key).Replace(text)
	c := mustLoad(t, text)
	if _, ok, err := c.SigningKeys.Bytes(); !ok || err != nil || !strings.Contains(c.Database.URL.Reveal(), "db.internal") {
		t.Fatalf("%+v", c)
	}
}
