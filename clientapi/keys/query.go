package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type queryRequest struct {
	Timeout    *int64                              `json:"timeout"`
	DeviceKeys map[matrix.UserID][]matrix.DeviceID `json:"device_keys"`
}

// QueryKeys tells the identity keys of users' devices, and their cross-signing keys.
//
// What is stored is what everybody may see, so that the answer is put together from the bytes of the database. On top come the asker's
// own user-signing key and what it has signed.
//
// Spec: client-server v1.19 §key-management-api, §key-and-signature-security, POST /_matrix/client/v3/keys/query
func (s *Server) QueryKeys(ctx context.Context, c *httpapi.Call, req *queryRequest) (any, error) {
	if req.DeviceKeys == nil {
		return nil, matrix.MissingParam("device_keys is missing")
	}
	users, err := checkUsers("device_keys", req.DeviceKeys)
	if err != nil {
		return nil, err
	}
	local, failures, err := s.splitUsers(ctx, c.Requester, users)
	if err != nil {
		return nil, err
	}
	devices, err := s.cfg.Store.ListDeviceKeys(ctx, local)
	if err != nil {
		return nil, fmt.Errorf("list device keys: %w", err)
	}
	identities, err := s.visibleIdentities(ctx, c.Requester.User, local)
	if err != nil {
		return nil, err
	}
	a := newAnswer(1024 * (len(devices) + len(identities) + 1))
	a.object("device_keys", func() {
		for i := 0; i < len(devices); {
			end := i + 1
			for end < len(devices) && devices[end].UserID == devices[i].UserID {
				end++
			}
			a.devices(devices[i:end], req.DeviceKeys[devices[i].UserID])
			i = end
		}
	})
	for _, usage := range []string{store.UsageMaster, store.UsageSelfSigning, store.UsageUserSigning} {
		a.object(usage+"_keys", func() {
			for _, k := range identities {
				if k.Usage == usage {
					a.value(string(k.UserID), k.JSON)
				}
			}
		})
	}
	a.failures(failures)
	return a.done(), nil
}

// devices writes the devices of a user; wanted chooses some, unless it is empty. The first of the list may say that there is none.
func (a *answer) devices(list []store.DeviceKeys, wanted []matrix.DeviceID) {
	a.object(string(list[0].UserID), func() {
		for _, k := range list {
			if k.DeviceID == "" || len(wanted) > 0 && !slices.Contains(wanted, k.DeviceID) {
				continue
			}
			a.key(string(k.DeviceID))
			if k.DisplayName == "" {
				a.dst = append(a.dst, k.JSON...)
				continue
			}
			a.dst = append(a.dst, k.JSON[:len(k.JSON)-1]...)
			a.dst = append(a.dst, `,"unsigned":{"device_display_name":`...)
			a.dst = append(appendText(a.dst, k.DisplayName), `}}`...)
		}
	})
}

// visibleIdentities returns the users' cross-signing keys as the asker may see them.
//
// Spec: client-server v1.19 §key-and-signature-security
func (s *Server) visibleIdentities(ctx context.Context, asker matrix.UserID, users []matrix.UserID) ([]store.CrossSigningKey, error) {
	list, err := s.cfg.Store.ListCrossSigningKeys(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("list cross-signing keys: %w", err)
	}
	list = slices.DeleteFunc(list, func(k store.CrossSigningKey) bool {
		return k.Usage == store.UsageUserSigning && k.UserID != asker
	})
	if len(list) == 0 {
		return nil, nil
	}
	signed, err := s.cfg.Store.ListKeySignatures(ctx, asker, users)
	if err != nil {
		return nil, fmt.Errorf("list signatures: %w", err)
	}
	type name struct {
		user matrix.UserID
		key  string
	}
	of := make(map[name][]byte, len(signed))
	for _, k := range signed {
		of[name{k.UserID, k.KeyID}] = k.Signatures
	}
	for i := range list {
		k := &list[i]
		text, ok := of[name{k.UserID, k.PublicKey}]
		if !ok {
			continue
		}
		if k.JSON, err = withSignatures(k.JSON, asker, text); err != nil {
			return nil, fmt.Errorf("add signatures to a key of %s: %w", k.UserID, err)
		}
	}
	return list, nil
}

// withSignatures adds a user's signatures to a stored key.
func withSignatures(stored []byte, user matrix.UserID, text []byte) ([]byte, error) {
	o, err := parseSigned("a stored key", stored, len(stored))
	if err != nil {
		return nil, err
	}
	var more signatures
	if err := json.Unmarshal(text, &more); err != nil {
		return nil, err
	}
	o.add(user, more)
	return o.with(o.by)
}

// checkUsers returns the users that a request names, in order.
func checkUsers[T any](name string, users map[matrix.UserID]T) ([]matrix.UserID, error) {
	list := slices.Sorted(maps.Keys(users))
	for _, user := range list {
		if _, err := matrix.ParseUserID(string(user)); err != nil {
			return nil, matrix.InvalidParam("%s: a name in it is not a user id", name)
		}
	}
	return list, nil
}

// splitUsers tells the users of this deployment from those of other servers, which are not asked. Those whom the asker may not know are left
// out, as if there were no such users.
func (s *Server) splitUsers(ctx context.Context, asker *httpapi.Requester, users []matrix.UserID) (local []matrix.UserID, failures []matrix.ServerName, err error) {
	strangers, err := s.cfg.Store.ListStrangers(ctx, viewerOf(asker), users)
	if err != nil {
		return nil, nil, err
	}
	hosted := map[matrix.ServerName]bool{asker.User.Domain(): true}
	if slices.ContainsFunc(users, func(u matrix.UserID) bool { return !hosted[u.Domain()] }) {
		domains, err := s.cfg.Store.ListHostedDomains(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("list hosted domains: %w", err)
		}
		for _, d := range domains {
			hosted[d.ServerName] = true
		}
	}
	for _, user := range users {
		switch {
		case !hosted[user.Domain()]:
			failures = append(failures, user.Domain())
		case !strangers[user]:
			local = append(local, user)
		}
	}
	slices.Sort(failures)
	return local, slices.Compact(failures), nil
}

// viewerOf is who asks, as one who looks at people.
func viewerOf(who *httpapi.Requester) store.Viewer {
	return store.Viewer{User: who.User, Organisation: who.Org, Guest: who.Guest}
}

// answer is an object that is put together from stored bytes.
type answer struct {
	dst []byte
}

func newAnswer(size int) *answer { return &answer{dst: append(make([]byte, 0, size), '{')} }

// key writes the name of the next member.
func (a *answer) key(name string) {
	if a.dst[len(a.dst)-1] != '{' {
		a.dst = append(a.dst, ',')
	}
	a.dst = append(appendText(a.dst, name), ':')
}

// value writes a member.
func (a *answer) value(name string, json []byte) {
	a.key(name)
	a.dst = append(a.dst, json...)
}

// object writes a member that is an object; inside writes its members.
func (a *answer) object(name string, inside func()) {
	a.key(name)
	a.dst = append(a.dst, '{')
	inside()
	a.dst = append(a.dst, '}')
}

// failures writes which servers could not be asked.
func (a *answer) failures(servers []matrix.ServerName) {
	a.object("failures", func() {
		for _, name := range servers {
			a.value(string(name), []byte(`{"errcode":"M_CONNECTION_FAILED","error":"this server does not talk to others"}`))
		}
	})
}

func (a *answer) done() httpapi.Raw { return httpapi.Raw(append(a.dst, '}')) }

// appendText appends a JSON string.
func appendText(dst []byte, s string) []byte {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r > '~' }) < 0 {
		return append(append(append(dst, '"'), s...), '"')
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("keys: a string can always be encoded: %v", err))
	}
	return append(dst, text...)
}
