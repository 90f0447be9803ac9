package mail_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// logo is a wide one, as many are.
const logo = `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="160"><circle cx="80" cy="80" r="70" fill="#e30613"/><text x="180" y="110" font-family="sans-serif" ` +
	`font-size="90" font-weight="700" fill="#111">VSN mbH</text></svg>`

// TestMailsAreReadable looks at mails in a browser, on a phone and on a desktop, in light and in dark. With ROOMLINE_MAIL_PICTURES there are pictures in that
// folder afterwards.
func TestMailsAreReadable(t *testing.T) {
	folder := t.TempDir()
	w := writer(t)
	put := func(name, html string) {
		if err := os.WriteFile(filepath.Join(folder, name+".html"), []byte(html), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pictures := os.Getenv("ROOMLINE_MAIL_PICTURES")
	for _, kind := range kinds {
		for _, language := range languages {
			if pictures == "" && language != "de" && kind != "changed" {
				continue // German has the longest words
			}
			m, err := w.Write(message(kind, language, "guest@example.org"))
			if err != nil {
				t.Fatal(err)
			}
			put(kind+"."+language, m.HTML)
		}
	}
	for _, colour := range []string{"#000000", "#ffffff", "#ffd400", "#808080", "#ff5722", "#101216", ""} {
		m := message("meeting", "de", "guest@example.org")
		m.Brand.Colour, m.Brand.Name = colour, "Verkehrsgesellschaft Süderdithmarschen-Nordfriesland mit b. H."
		m.Brand.LogoURL = "https://chat.example.com/_roomline/guest/v1/logo/1?v=1"
		m.Invitation.Room, m.Invitation.Inviter = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "W"
		written, err := w.Write(m)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(written.HTML, m.Brand.LogoURL) != 1 {
			t.Error("there is no logo")
		}
		written.HTML = strings.Replace(written.HTML, m.Brand.LogoURL, "data:image/svg+xml;base64,"+base64.StdEncoding.EncodeToString([]byte(logo)), 1)
		put("colour"+strings.TrimPrefix(colour, "#"), written.HTML)
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: make chromium")
	}
	cmd := exec.Command("node", "testdata/render.mjs", folder)
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "MODULES=../../../tests/hydrogen", "PICTURES="+pictures)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	var problems []string
	if err := json.Unmarshal(out, &problems); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, p := range problems {
		t.Error(p)
	}
}
