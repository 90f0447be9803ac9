package mediaapi_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestReceiptsCanBeVerifiedAsDocumented(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	uri := alice.MustUpload(t, "text/plain", "", []byte("to be deleted"))
	admin.MustDo(t, http.MethodDelete, ofMedia("media", uri), nil)
	receipt := receiptOf(t, admin, uri).Raw
	for text, want := range map[string]string{
		receipt: uri + ": deleted under the rule admin, signed by hs.test with ed25519:",
		strings.Replace(receipt, admin.ID, alice.ID, 1): "the signature is wrong",
	} {
		file := filepath.Join(t.TempDir(), "receipt.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.Command("node", "../docs/verify-receipt.mjs", d.BaseURL(0), file).CombinedOutput()
		if (err == nil) != strings.HasPrefix(want, uri) || !strings.Contains(string(output), want) {
			t.Errorf("%s: %v\n%s", text, err, output)
		}
	}
}
