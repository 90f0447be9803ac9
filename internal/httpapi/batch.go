package httpapi

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/roomline/roomline/internal/matrix"
)

// NextBatch names the place where a page of a list ended, by the time and the id of its last entry: from has it in the request that continues.
func NextBatch(ts matrix.Timestamp, id string) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", ts, id))
}

// QueryFrom reads the place where a page ended; zero is the beginning.
func (c *Call) QueryFrom() (matrix.Timestamp, string, error) {
	text := c.Query("from")
	if text == "" {
		return 0, "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	ts, id, ok := strings.Cut(string(raw), " ")
	n, wrong := strconv.ParseInt(ts, 10, 64)
	if err != nil || !ok || wrong != nil || n < 1 || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return 0, "", matrix.InvalidParam("from must be a next_batch of an earlier answer")
	}
	return matrix.Timestamp(n), id, nil
}
