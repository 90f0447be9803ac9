package matrix

import (
	"bytes"
	"slices"
	"strings"
)

// contentScheme is how a ContentURI begins.
const contentScheme = "mxc://"

// maxMediaID bounds the second half of a ContentURI; those of this server have 32 characters.
const maxMediaID = 255

// ContentURI is where content is: mxc://server/mediaId.
type ContentURI struct {
	Server  ServerName
	MediaID string
}

// ParseContentURI refuses what could lead elsewhere on the server that it names.
//
// Spec: client-server v1.19 §matrix-content-mxc-uris, §content-repo-security-considerations
func ParseContentURI(s string) (ContentURI, error) {
	rest, ok := strings.CutPrefix(s, contentScheme)
	if !ok {
		return ContentURI{}, InvalidParam("a content URI must begin with mxc://")
	}
	server, id, _ := strings.Cut(rest, "/")
	return NewContentURI(server, id)
}

// NewContentURI is ParseContentURI for the two halves.
func NewContentURI(server, mediaID string) (ContentURI, error) {
	name, err := ParseServerName(server)
	if err != nil {
		return ContentURI{}, err
	}
	if mediaID == "" || len(mediaID) > maxMediaID {
		return ContentURI{}, InvalidParam("a media id has 1 to %d characters", maxMediaID)
	}
	for i := range len(mediaID) {
		if !isMediaIDChar(mediaID[i]) {
			return ContentURI{}, InvalidParam("a media id has letters, digits, _ and - only")
		}
	}
	return ContentURI{name, mediaID}, nil
}

func isMediaIDChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// String is the URI.
func (u ContentURI) String() string { return contentScheme + string(u.Server) + "/" + u.MediaID }

// FindContentURIs returns the content URIs that stand in JSON, each once, at most limit.
func FindContentURIs(json []byte, limit int) []ContentURI {
	if !bytes.Contains(json, []byte("mxc:")) {
		return nil
	}
	var found []ContentURI
	// JSON may write a slash in two ways.
	rest := strings.ReplaceAll(string(json), `\/`, "/")
	for len(found) < limit {
		_, after, ok := strings.Cut(rest, contentScheme)
		if !ok {
			break
		}
		rest = after
		server, id, ok := strings.Cut(after, "/")
		if !ok {
			break
		}
		end := 0
		for end < len(id) && isMediaIDChar(id[end]) {
			end++
		}
		if u, err := NewContentURI(server, id[:end]); err == nil && !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	return found
}
