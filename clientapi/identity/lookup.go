package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Algorithms of lookups.
const (
	algorithmSHA256 = "sha256"
	algorithmNone   = "none"
)

type hashDetailsResponse struct {
	LookupPepper string   `json:"lookup_pepper"`
	Algorithms   []string `json:"algorithms"`
}

// getHashDetails says how addresses are hashed for a lookup.
//
// Spec: identity v1.19 §association-lookup, GET /_matrix/identity/v2/hash_details
func (s *Server) getHashDetails(context.Context, *httpapi.Call) (any, error) {
	// What is hashed is no secret to the server that has the addresses. It keeps the rest of an address book to the phone.
	return hashDetailsResponse{s.pepper(s.period()), []string{algorithmSHA256, algorithmNone}}, nil
}

// period numbers the times for which a pepper holds.
func (s *Server) period() int64 {
	return s.cfg.Clock.Now().Unix() / int64(limits.LookupPepper/time.Second)
}

// pepper is the same on all processes.
func (s *Server) pepper(period int64) string {
	mac := hmac.New(sha256.New, s.cfg.PepperKey)
	fmt.Fprintf(mac, "pepper %d", period)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:15])
}

type lookupRequest struct {
	Algorithm string    `json:"algorithm"`
	Pepper    *string   `json:"pepper"`
	Addresses *[]string `json:"addresses"`
}

type lookupResponse struct {
	Mappings map[string]matrix.UserID `json:"mappings"`
}

// lookup finds the accounts of addresses, as far as the requester may see that the accounts have them.
//
// Spec: identity v1.19 §association-lookup, POST /_matrix/identity/v2/lookup
func (s *Server) lookup(ctx context.Context, c *httpapi.Call, req *lookupRequest) (any, error) {
	if req.Algorithm == "" || req.Pepper == nil || req.Addresses == nil {
		return nil, matrix.MissingParam("algorithm, pepper and addresses are needed")
	}
	if len(*req.Addresses) > limits.LookupAddresses {
		return nil, matrix.TooLarge("addresses: at most %d at a time", limits.LookupAddresses)
	}
	if req.Algorithm != algorithmSHA256 && req.Algorithm != algorithmNone {
		return nil, matrix.InvalidParam("algorithm must be sha256 or none")
	}
	period := s.period()
	if *req.Pepper != s.pepper(period) {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrInvalidPepper, "the pepper is not, or no longer, the one of GET /hash_details").
			With("algorithm", algorithmSHA256).With("lookup_pepper", s.pepper(period))
	}
	sources, err := s.sources(ctx, c.Requester)
	if err != nil {
		return nil, err
	}
	if req.Algorithm == algorithmNone {
		return s.lookUpPlain(ctx, sources, *req.Addresses)
	}
	return s.lookUpHashed(ctx, sources, period, *req.Addresses)
}

// source is an organisation of whose people a requester sees the addresses of some media.
type source struct {
	org    int64
	shares map[string]bool
}

// sources are the requester's own organisation, and then linked ones.
func (s *Server) sources(ctx context.Context, who *httpapi.Requester) ([]source, error) {
	all := []source{{who.Org, map[string]bool{"email": true, "msisdn": true}}}
	linked, err := s.cfg.Store.ListSharings(ctx, who.Org)
	if err != nil {
		return nil, fmt.Errorf("list linked organisations: %w", err)
	}
	for _, l := range linked {
		if l.Email || l.Phone {
			all = append(all, source{l.OwnerID, map[string]bool{"email": l.Email, "msisdn": l.Phone}})
		}
	}
	return all, nil
}

// lookUpPlain is lookup by "address medium".
func (s *Server) lookUpPlain(ctx context.Context, sources []source, queries []string) (any, error) {
	answer := lookupResponse{map[string]matrix.UserID{}}
	for _, medium := range []string{"email", "msisdn"} {
		var orgs []int64
		for _, src := range sources {
			if src.shares[medium] {
				orgs = append(orgs, src.org)
			}
		}
		var addresses []string
		for _, q := range queries {
			if address, ok := strings.CutSuffix(q, " "+medium); ok && len(address) <= limits.EmailAddress {
				addresses = append(addresses, address)
			}
		}
		if len(addresses) == 0 {
			continue
		}
		found, err := s.cfg.Store.ListByAddress(ctx, orgs, medium, addresses)
		if err != nil {
			return nil, fmt.Errorf("look up addresses: %w", err)
		}
		for _, src := range sources {
			for _, t := range found {
				if q := t.Address + " " + medium; t.OrganisationID == src.org && answer.Mappings[q] == "" {
					answer.Mappings[q] = t.UserID
				}
			}
		}
	}
	return answer, nil
}

// lookUpHashed is lookup by hashes. The index names who may be meant; the database says what holds at this moment.
func (s *Server) lookUpHashed(ctx context.Context, sources []source, period int64, queries []string) (any, error) {
	answer := lookupResponse{map[string]matrix.UserID{}}
	asked := make(map[[sha256.Size]byte]string, len(queries))
	for _, q := range queries {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(q); err == nil && len(b) == sha256.Size {
			asked[[sha256.Size]byte(b)] = q
		}
	}
	if len(asked) == 0 {
		return answer, nil
	}
	pepper := s.pepper(period)
	meant, err := s.index.find(ctx, s.cfg.Store, sources, period, pepper, asked)
	if err != nil || len(meant) == 0 {
		return answer, err
	}
	addresses, err := s.cfg.Store.ListAddressesOf(ctx, meant)
	if err != nil {
		return nil, fmt.Errorf("look up addresses: %w", err)
	}
	for _, src := range sources {
		for _, t := range addresses {
			if t.OrganisationID != src.org || !src.shares[t.Medium] {
				continue
			}
			if q, ok := asked[hashAddress(t.Address, t.Medium, pepper)]; ok && answer.Mappings[q] == "" {
				answer.Mappings[q] = t.UserID
			}
		}
	}
	return answer, nil
}

// hashAddress is what a client asks for.
//
// Spec: identity v1.19 §sha256
func hashAddress(address, medium, pepper string) (sum [sha256.Size]byte) {
	h := sha256.New()
	io.WriteString(h, address+" "+medium+" "+pepper)
	h.Sum(sum[:0])
	return sum
}

// linkedWith returns the account of an address that the requester may see, or "".
func (s *Server) linkedWith(ctx context.Context, who *httpapi.Requester, medium, address string) (matrix.UserID, error) {
	sources, err := s.sources(ctx, who)
	if err != nil {
		return "", err
	}
	found, err := s.lookUpPlain(ctx, sources, []string{address + " " + medium})
	if err != nil {
		return "", err
	}
	return found.(lookupResponse).Mappings[address+" "+medium], nil
}

// association is what the service says of an address and an account.
type association struct {
	Address   string           `json:"address"`
	Medium    string           `json:"medium"`
	MXID      matrix.UserID    `json:"mxid"`
	NotBefore matrix.Timestamp `json:"not_before"`
	NotAfter  matrix.Timestamp `json:"not_after"`
	TS        matrix.Timestamp `json:"ts"`
}

func (s *Server) associate(t store.Validation, user matrix.UserID) any {
	now := s.cfg.Clock.Now()
	return association{t.Address, t.Medium, user, matrix.TimestampOf(now), matrix.TimestampOf(now.Add(limits.Association)), matrix.TimestampOf(now)}
}
