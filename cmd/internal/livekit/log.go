package livekit

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"

	livekitlog "github.com/livekit/protocol/logger"
	"github.com/livekit/protocol/logger/zaputil"
)

// logger writes what LiveKit logs as ours. LiveKit says at info who comes from where, which is debugging to us, and its errors are mostly
// clients that went away. Above debug nothing is logged but what is listed in told: no addresses and no people.
type logger struct{ log *slog.Logger }

var told = map[string]bool{"error": true, "room": true, "roomID": true, "pID": true, "component": true, "reason": true, "status": true, "part": true}

// token is a signed token, which LiveKit puts into messages about tokens.
var token = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]*`)

func (l logger) write(level slog.Level, message string, err error, pairs []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	var attributes []slog.Attr
	if err != nil {
		attributes = append(attributes, slog.String("error", hide(err.Error())))
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if key := fmt.Sprint(pairs[i]); told[key] || level <= slog.LevelDebug {
			attributes = append(attributes, slog.String(key, hide(fmt.Sprint(pairs[i+1]))))
		}
	}
	l.log.LogAttrs(context.Background(), level, hide(message), attributes...)
}

func hide(text string) string { return token.ReplaceAllString(text, "(token)") }

func (l logger) Debugw(string, ...any) {} // every packet
func (l logger) Infow(message string, pairs ...any) {
	l.write(slog.LevelDebug, message, nil, pairs)
}
func (l logger) Warnw(message string, err error, pairs ...any) {
	l.write(slog.LevelDebug, message, err, pairs)
}
func (l logger) Errorw(message string, err error, pairs ...any) {
	l.write(slog.LevelWarn, message, err, pairs)
}

func (l logger) WithValues(pairs ...any) livekitlog.Logger {
	var kept []any
	for i := 0; i+1 < len(pairs); i += 2 {
		if key := fmt.Sprint(pairs[i]); told[key] {
			kept = append(kept, key, fmt.Sprint(pairs[i+1]))
		}
	}
	if len(kept) == 0 {
		return l
	}
	return logger{l.log.With(kept...)}
}

func (l logger) WithUnlikelyValues(pairs ...any) livekitlog.UnlikelyLogger {
	return livekitlog.NewUnlikelyLogger(l, pairs...)
}
func (l logger) WithName(string) livekitlog.Logger      { return l }
func (l logger) WithComponent(string) livekitlog.Logger { return l }
func (l logger) WithCallDepth(int) livekitlog.Logger    { return l }
func (l logger) WithItemSampler() livekitlog.Logger     { return l }
func (l logger) WithoutSampler() livekitlog.Logger      { return l }
func (l logger) WithDeferredValues() (livekitlog.Logger, livekitlog.DeferredFieldResolver) {
	return l, zaputil.NoOpDeferrer{}
}
