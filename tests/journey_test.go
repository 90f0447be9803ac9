package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// guestsComeInByTheirMessages runs hydrogen/journey.mjs, which says what is tested: on the server that make run starts, and on one that sends
// through a real mail server and a real short message centre. ROOMLINE_SCREENSHOTS is where pictures of what people see are kept.
func guestsComeInByTheirMessages(t *testing.T) {
	hstest.NodeModules(t, "hydrogen", "hydrogen-view-sdk")
	hstest.NodeModules(t, "jssdk", "matrix-js-sdk")
	t.Run("trying out", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "roomline-journey-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		summary, stop := serveDev(t, dir, nil)
		defer stop()
		passwords := summaryPasswords(t, summary)
		runJourney(t, summaryURL(t, summary), []traveller{
			{"@alice:localhost", "@alice:localhost", passwords["@alice:localhost"]}, {"@bob:localhost", "@bob:localhost", passwords["@bob:localhost"]},
		})
	})
	t.Run("mail server and short message centre", func(t *testing.T) {
		c := newTelecom(t)
		dep := hstest.Start(t, hstest.Options{Configure: func(_ int, cfg map[string]any) {
			address := cfg["listeners"].([]any)[0].(map[string]any)["address"].(string)
			cfg["telephony"], cfg["public_base_url"] = c.section("in_process"), "http://"+address
		}})
		dep.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/messages", map[string]any{"countries": []string{"BE"}})
		links := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, c.link(t, r.URL.Query().Get("to")))
		}))
		defer links.Close()
		var travellers []traveller
		for _, name := range []string{"alice", "bob"} {
			u := dep.User(t, name)
			travellers = append(travellers, traveller{u.ID, name, u.Password})
		}
		runJourney(t, dep.BaseURL(0), travellers, "LINKS_URL="+links.URL)
	})
}

var linkInText = regexp.MustCompile(`https?://\S+/i#[A-Za-z0-9_-]{22}`)

// link waits for the message to an address and returns its link.
func (c *telecom) link(t *testing.T, to string) string {
	var text string
	if strings.Contains(to, "@") {
		text = c.mails.WaitForMail(t, to).Text
	} else {
		find := func(s hstest.SMSCSeen) bool {
			for _, m := range s.Texts {
				if strings.HasSuffix(m.To, to) {
					text = m.Text
				}
			}
			return text != ""
		}
		c.smsc.Await(t, "the short message", find)
	}
	return linkInText.FindString(text)
}

// traveller is a member who takes part in the journey.
type traveller struct {
	ID       string `json:"id"`
	User     string `json:"user"`
	Password string `json:"password"`
}

func runJourney(t *testing.T, url string, travellers []traveller, more ...string) {
	t.Helper()
	text, err := json.Marshal(travellers)
	if err != nil {
		t.Fatal(err)
	}
	if pictures := os.Getenv("ROOMLINE_SCREENSHOTS"); pictures != "" {
		own, err := os.MkdirTemp(pictures, filepath.Base(t.Name())+"-")
		if err != nil {
			t.Fatal(err)
		}
		more = append(more, "SCREENSHOTS="+own)
	}
	hstest.RunScript(t, "hydrogen", "journey.mjs", nil, append(more, "ROOMLINE_URL="+url, "ROOMLINE_URLS="+url, "ROOMLINE_ACCOUNTS="+string(text)))
}
