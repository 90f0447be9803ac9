package voice

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/roomline/roomline/internal/wake"
)

const (
	// registeredFor is what is asked for; the network may give less, but not less than registeredLeast.
	registeredFor   = 10 * time.Minute
	registeredLeast = 10 * time.Second
	registering     = 20 * time.Second
)

// register tells the network where we are, before it forgets it, until ctx ends; then that we are gone.
//
// Spec: RFC 3261 §10.2
func (t *trunk) register(ctx context.Context) {
	req := t.registration()
	pause := backoff{first: time.Second, most: 5 * time.Minute}
	told := false
	for ctx.Err() == nil {
		granted, err := t.registerOnce(ctx, req, registeredFor)
		if ctx.Err() != nil {
			break
		}
		t.registered.Store(err == nil)
		if err != nil {
			if !told {
				t.bridge.log.Warn("voice: a trunk does not register us", "trunk", t.cfg.Name, "error", err)
			}
			told = true
			pause.wait(ctx)
			continue
		}
		if told || pause.next == 0 {
			t.bridge.log.Info("voice: registered with a trunk", "trunk", t.cfg.Name, "for", granted)
		}
		told, pause.next = false, pause.first
		wake.Pause(ctx, granted*4/5)
	}
	if t.registered.Swap(false) {
		gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.bridge.goodbye)
		defer cancel()
		_, _ = t.registerOnce(gone, req, 0) // the network forgets us anyway
	}
}

func (t *trunk) registration() *sip.Request {
	req := sip.NewRequest(sip.REGISTER, t.target(""))
	req.SetTransport(strings.ToUpper(t.cfg.Transport))
	account := sip.Uri{Scheme: "sip", User: t.cfg.Username, Host: t.domain()}
	from := &sip.FromHeader{Address: account, Params: sip.NewParams()}
	from.Params.Add("tag", sip.GenerateTagN(16))
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: account, Params: sip.NewParams()})
	contact := t.dialogs.ContactHDR.Clone()
	contact.Address.User = t.cfg.Username
	req.AppendHeader(contact)
	return req
}

// registerOnce asks, shows the password if the network wants it, and returns for how long we are known.
func (t *trunk) registerOnce(ctx context.Context, req *sip.Request, span time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, registering)
	defer cancel()
	for _, name := range []string{"Expires", "Via", "Authorization", "Proxy-Authorization"} {
		req.RemoveHeader(name)
	}
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(span.Seconds()))))
	res, err := t.client.Do(ctx, req, sipgo.ClientRequestRegisterBuild)
	if err == nil {
		chooseDigest(res)
	}
	if err == nil && (res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired) && t.cfg.Password != "" {
		res, err = t.client.DoDigestAuth(ctx, req, res, sipgo.DigestAuth{Username: t.cfg.Username, Password: t.cfg.Password})
	}
	if err != nil {
		return 0, err
	}
	if res.StatusCode != sip.StatusOK {
		return 0, fmt.Errorf("the network answered %d %s", res.StatusCode, res.Reason)
	}
	granted := span
	if h := res.GetHeader("Expires"); h != nil {
		granted = seconds(h.Value(), granted)
	}
	for _, h := range res.GetHeaders("Contact") {
		if _, parameter, ok := strings.Cut(strings.ToLower(h.Value()), ";expires="); ok && strings.Contains(h.Value(), t.dialogs.ContactHDR.Address.Host) {
			granted = seconds(parameter, granted)
		}
	}
	return max(granted, registeredLeast), nil
}

// seconds reads the number that a text begins with.
func seconds(text string, otherwise time.Duration) time.Duration {
	text = strings.TrimSpace(text)
	end := 0
	for end < len(text) && end < 9 && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(text[:end])
	if err != nil {
		return otherwise
	}
	return time.Duration(n) * time.Second
}
