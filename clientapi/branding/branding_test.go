package branding_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	_ "image/jpeg"
	"image/png"
	"net/http"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const policy = "/_roomline/admin/v1/policies/branding"

// picture is a PNG of 900x300 with a comment behind it.
func picture(t testing.TB) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 900, 300))
	for x := range 900 {
		for y := range 300 {
			img.Set(x, y, color.NRGBA{uint8(x), uint8(y), 200, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), "made at home by Alice"...)
}

// logo asks for the logo of the first organisation as anybody can.
func logo(t testing.TB, d *hstest.Deployment, process int) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.BaseURL(process)+"/_roomline/guest/v1/logo/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp, b.Bytes()
}

func TestLogo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	d := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, config map[string]any) {
		config["media"] = map[string]any{"folder": folder}
	}})
	alice := d.Admin(t, "alice")
	bob := d.User(t, "bob")
	if resp, _ := logo(t, d, 0); resp.StatusCode != http.StatusNotFound {
		t.Fatalf("a logo that nobody decided: %s", resp.Status)
	}
	file := picture(t)
	first := alice.MustUpload(t, "image/png", "filename=logo.png", file)
	alice.MustDo(t, http.MethodPut, policy, map[string]any{"name": "Acme", "logo": first, "colour": "#0A7A5C", "languages": []string{"fr", "nl"}})
	if colour := alice.MustDo(t, http.MethodGet, policy, nil).Get("value.colour").String(); colour != "#0a7a5c" {
		t.Errorf("the colour is %q", colour)
	}
	for process := range 2 {
		resp, body := logo(t, d, process)
		config, format, err := image.DecodeConfig(bytes.NewReader(body))
		if err != nil || config.Width > 320 || config.Height > 240 || resp.Header.Get("Content-Type") != "image/"+format {
			t.Errorf("the logo is %s of %dx%d, %v, %v", format, config.Width, config.Height, resp.Header, err)
		}
		if bytes.Contains(body, []byte("Alice")) || !strings.Contains(resp.Header.Get("Cache-Control"), "public") || resp.Header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
			t.Errorf("%v", resp.Header)
		}
	}
	bob.MustSee(t, first, file)

	// What hangs on the organisation is not removed for hanging on nothing; what no longer does is.
	second := alice.MustUpload(t, "image/png", "filename=logo2.png", append(picture(t), "2"...))
	lost := alice.MustUpload(t, "image/png", "filename=logo3.png", append(picture(t), "3"...))
	alice.MustDo(t, http.MethodPut, policy, map[string]any{"logo": second})
	expire(t, d)
	for process := range 2 { // the first thing that one does is to look for what is too old
		d.Stop(t, process)
		d.Restart(t, process)
	}
	hstest.Eventually(t, "a picture is gone", func() bool { return gone(t, alice, first) && gone(t, alice, lost) })
	bob.MustSee(t, second, append(picture(t), "2"...))
	if resp, _ := logo(t, d, 1); resp.StatusCode != http.StatusOK {
		t.Errorf("the second logo: %s", resp.Status)
	}
	alice.MustDo(t, http.MethodDelete, policy, nil)
	if resp, _ := logo(t, d, 1); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a logo that was taken back: %s", resp.Status)
	}
	hstest.Eventually(t, "a picture is gone", func() bool { return gone(t, alice, second) })
}

// expire lets the time be over for all that hangs on nothing.
func expire(t testing.TB, d *hstest.Deployment) {
	t.Helper()
	db := storetest.DB(t, d.DSN)
	if _, err := db.Exec(`UPDATE media SET expires_ts = 1 WHERE expires_ts IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
}

func gone(t testing.TB, u *hstest.User, uri string) bool {
	t.Helper()
	resp, err := u.Do(context.Background(), http.MethodGet, hstest.MediaPath("/_matrix/client/v1/media/download", uri), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status == http.StatusNotFound
}

// TestOnlyOnesOwnPicturesAreLogos: what somebody said in a room is shown to nobody, nor what another organisation has.
func TestOnlyOnesOwnPicturesAreLogos(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	alice := d.Admin(t, "alice")
	other := d.Organisation(t, "Other", "other.test")
	eve := other.User(t, "eve")
	bob := d.User(t, "bob")
	room := bob.MustCreateRoom(t, map[string]any{"preset": "private_chat"})
	said := bob.MustUpload(t, "image/png", "filename=secret.png", picture(t))
	bob.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.image", "body": "secret.png", "url": said})
	for what, uri := range map[string]string{
		"a picture in a room": said, "one of another organisation": eve.MustUpload(t, "image/png", "filename=x.png", picture(t)), "none": "mxc://example.org/nothing",
	} {
		answer := alice.MustFail(t, http.StatusBadRequest, "M_BAD_JSON", http.MethodPut, policy, map[string]any{"logo": uri})
		if !strings.Contains(answer.Get("error").String(), "logo") {
			t.Errorf("%s: %s", what, answer)
		}
	}
	text := alice.MustUpload(t, "image/svg+xml", "filename=x.svg", []byte("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"))
	alice.MustDo(t, http.MethodPut, policy, map[string]any{"logo": text})
	if resp, _ := logo(t, d, 0); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a logo that is no picture: %s", resp.Status)
	}
	for field, value := range map[string]any{
		"name": strings.Repeat("x", 121), "colour": "red; background: url(x)", "logo": "https://example.org/x.png", "languages": []string{"tlh"}, "slogan": "x",
	} {
		alice.MustFail(t, http.StatusBadRequest, "M_BAD_JSON", http.MethodPut, policy, map[string]any{field: value})
	}
	alice.MustFail(t, http.StatusBadRequest, "M_BAD_JSON", http.MethodPut, policy, map[string]any{"name": "a\u202eb"})
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, policy, map[string]any{"name": "Bob's"})
}
