package appservices

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// BuiltIn is an application service that is part of the server. It speaks the same API as others, without a network, and belongs to the whole
// deployment.
type BuiltIn struct {
	ID, Localpart string
	// ASToken and HSToken are the same in every process.
	ASToken, HSToken string
	Grants           []string
	// EventTypes are what it is told of in rooms that it is in, and Act what it may do there; BodyPrefixes are how messages begin that it is
	// told of wherever they are, as it is of OutsideTypes.
	EventTypes, Act, BodyPrefixes, OutsideTypes []string
}

// inProcess is where a built-in application service is asked, once there is somebody to ask.
type inProcess struct {
	client atomic.Pointer[http.Client]
}

// builtInURL stands where others have an address. Nothing is ever sent there.
const builtInURL = "http://in-process.invalid"

// AddBuiltIn registers an application service that is part of the server. It is told nothing before Serve.
func (r *Registry) AddBuiltIn(b BuiltIn, domain matrix.ServerName) error {
	url, no := builtInURL, false
	d := document{
		ID: b.ID, URL: &url, ASToken: b.ASToken, HSToken: b.HSToken, SenderLocalpart: b.Localpart, RateLimited: &no, Namespaces: &namespaces{},
		Roomline: map[string]any{"organisation": "*", "grants": b.Grants, "view": map[string]any{
			"event_types": append([]string{}, b.EventTypes...), "act": append([]string{}, b.Act...),
			"outside": map[string]any{"body_prefixes": append([]string{}, b.BodyPrefixes...), "event_types": append([]string{}, b.OutsideTypes...)},
		}},
	}
	if len(b.BodyPrefixes)+len(b.OutsideTypes) > 0 {
		d.Namespaces.Rooms = []namespaceDocument{{Exclusive: &no, Regex: "!.*"}}
	}
	as, err := d.compile(domain)
	if err == nil {
		as.Operator, as.inProcess = true, new(inProcess)
		err = r.present.Load().add(as)
	}
	if err != nil {
		return fmt.Errorf("built-in application service %s: %w", b.ID, err)
	}
	r.files = r.present.Load().services
	return nil
}

// Serve lets a built-in application service be told of events, by a handler of this process.
func (r *Registry) Serve(id string, handler http.Handler) error {
	as := r.byID(id)
	if as == nil || as.inProcess == nil {
		return errors.New("there is no built-in application service " + id)
	}
	as.inProcess.client.Store(&http.Client{Transport: httpapi.InProcess(handler), Timeout: limits.AppserviceTransaction})
	return nil
}

// reachable reports whether it can be told anything by this process.
func (r *Registration) reachable() bool {
	return r.URL != "" && (r.inProcess == nil || r.inProcess.client.Load() != nil)
}
