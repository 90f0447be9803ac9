package tests

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
)

// TestJSSDKClientsShareFiles runs jssdk/media.test.mjs, which says what is tested.
func TestJSSDKClientsShareFiles(t *testing.T) {
	t.Parallel()
	runJSSDK(t, hstest.Start(t, hstest.Options{Processes: 2, Configure: sharedMedia(t)}), "media.test.mjs")
}

// sharedMedia gives all processes of a deployment one folder.
func sharedMedia(t testing.TB) func(int, map[string]any) {
	dir := t.TempDir()
	return func(_ int, config map[string]any) { config["media"] = map[string]any{"folder": dir} }
}

// hostileFile is a file that hydrogen/hostile.mjs opens: type and file are what was uploaded, urls where it is now. Runs says that its
// script runs where nobody prevents it.
type hostileFile struct {
	What string   `json:"what"`
	Type string   `json:"type"`
	File []byte   `json:"file"`
	Runs bool     `json:"runs"`
	URLs []string `json:"urls"`
}

// SEC-71: hostileFilesInABrowser opens hostile files in a browser, from the download's address itself; see hydrogen/hostile.mjs.
func hostileFilesInABrowser(t *testing.T) {
	hstest.NodeModules(t, "hydrogen", "playwright-core")
	dep := hstest.Start(t, hstest.Options{Configure: sharedMedia(t)})
	u := dep.User(t, "alice")
	port, err := freeport.Claim()
	if err != nil {
		t.Fatal(err)
	}
	const script = `window.canary = 1; console.log("canary"); new Image().src = "CANARY"; location.href = "CANARY";`
	html := `<!doctype html><html><body><img src=x onerror='` + script + `'><script>` + script + `</script></body></html>`
	svg := `<svg xmlns="http://www.w3.org/2000/svg" onload='` + script + `'><script>` + script + `</script></svg>`
	xslt := `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#x"?><!DOCTYPE doc [<!ATTLIST xsl:stylesheet id ID #REQUIRED>]>
		<doc><xsl:stylesheet id="x" version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">
		<html xmlns="http://www.w3.org/1999/xhtml"><body><script><![CDATA[` + script + `]]></script></body></html></xsl:template></xsl:stylesheet>
		<x:script xmlns:x="http://www.w3.org/1999/xhtml"><![CDATA[` + script + `]]></x:script></doc>`
	files := []hostileFile{
		{What: "SVG", Type: "image/svg+xml", File: []byte(svg), Runs: true},
		{What: "HTML", Type: "text/html", File: []byte(html), Runs: true},
		{What: "HTML with a broken type", Type: "text/html;x", File: []byte(html), Runs: true},
		{What: "HTML as a picture", Type: "image/png", File: []byte(html)},
		{What: "HTML as text", Type: "text/plain", File: []byte(html)},
		{What: "HTML as JSON", Type: "application/json", File: []byte(html)},
		{What: "HTML as style", Type: "text/css", File: []byte(html)},
		{What: "HTML as an unknown type", Type: "application/octet-stream", File: []byte(html)},
		{What: "HTML as no type", Type: "x", File: []byte(html)},
		{What: "XML with XSLT", Type: "text/xml", File: []byte(xslt)},
		{What: "XML with a script", Type: "application/xml", File: []byte(`<r><s:script xmlns:s="http://www.w3.org/1999/xhtml">` + script + `</s:script></r>`), Runs: true},
		{What: "XHTML", Type: "application/xhtml+xml", File: []byte(`<html xmlns="http://www.w3.org/1999/xhtml"><body><script>` + script + `</script></body></html>`), Runs: true},
	}
	for i := range files {
		f := &files[i]
		sent := strings.ReplaceAll(string(f.File), "CANARY", fmt.Sprintf("http://127.0.0.1:%d/canary/%d", port, i))
		uri := u.MustUpload(t, f.Type, "filename=file", []byte(sent))
		path := dep.BaseURL(0) + hstest.MediaPath("/_matrix/client/v1/media/download", uri)
		f.URLs = []string{path + "?access_token=" + u.AccessToken, path + "/evil.html?access_token=" + u.AccessToken}
	}
	text, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	hstest.RunScript(t, "hydrogen", "hostile.mjs", nil, []string{"HOSTILE=" + string(text), "CANARY_PORT=" + strconv.Itoa(port)})
}
