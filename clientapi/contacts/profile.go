package contacts

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/smallstep/pkcs7"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const profileLinks = "/_roomline/client/v1/contacts/profile"

// createProfileLink makes a link that gives an iPhone, an iPad or a Mac its profile, once. Phones install a profile only from their browser,
// which has no access token: so there is a link, and it has to be short-lived.
func (s *Server) createProfileLink(ctx context.Context, c *httpapi.Call, req *appPasswordRequest) (any, error) {
	if err := checkDeviceName(req.Name); err != nil {
		return nil, err
	}
	if s.cfg.BaseURL == "" {
		return nil, matrix.NewError(404, matrix.ErrNotFound, "profiles for phones need public_base_url in the server's configuration")
	}
	if s.cfg.Certificate == nil && !s.cfg.UnsignedProfiles {
		return nil, matrix.NewError(404, matrix.ErrNotFound, "profiles for phones need a certificate in the server's configuration")
	}
	raw := make([]byte, 24)
	if _, err := io.ReadFull(s.cfg.Rand, raw); err != nil {
		return nil, fmt.Errorf("make a link: %w", err)
	}
	secret := base64.RawURLEncoding.EncodeToString(raw)
	link := store.PhoneProfileLink{
		LinkHash: linkHash(secret), UserID: c.Requester.User, Name: req.Name,
		ExpiresTS: matrix.TimestampOf(s.cfg.Clock.Now().Add(limits.PhoneProfileLink)),
	}
	if err := s.store.PutPhoneProfileLink(ctx, link); err != nil {
		return nil, fmt.Errorf("store a link: %w", err)
	}
	return struct {
		URL       string           `json:"url"`
		ExpiresTS matrix.Timestamp `json:"expires_ts"`
	}{strings.TrimSuffix(s.cfg.BaseURL, "/") + profileLinks + "/" + secret, link.ExpiresTS}, nil
}

func linkHash(secret string) []byte {
	sum := sha256.Sum256([]byte("phone profile\x00" + secret))
	return sum[:]
}

// getProfile gives a phone its profile, with an app password that is made for it, and ends the link.
func (s *Server) getProfile(ctx context.Context, c *httpapi.Call) (any, error) {
	if c.Request.Method == "HEAD" {
		return nil, matrix.MethodNotAllowed() // it would use the link up
	}
	sign, err := s.signer()
	if err != nil {
		return nil, err
	}
	var password string
	var row store.AppPassword
	err = s.store.Write(ctx, func(tx *store.Tx) error {
		link, err := tx.TakePhoneProfileLink(ctx, linkHash(c.Path("link")), s.now())
		if errors.Is(err, store.ErrNotFound) {
			return matrix.NotFound("this link was used, or its time is over: ask the app for another one")
		}
		if err != nil {
			return err
		}
		user, err := tx.GetUser(ctx, link.UserID)
		if err != nil {
			return err
		}
		if user.Deactivated() || user.Locked {
			return matrix.NotFound("this link was used, or its time is over: ask the app for another one")
		}
		row, password, err = s.insertAppPassword(ctx, tx, link.UserID, link.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take a link to a profile: %w", err)
	}
	document, err := s.profile(row.UserID, password)
	if err != nil {
		return nil, err
	}
	if document, err = sign(document); err != nil {
		return nil, fmt.Errorf("sign a profile: %w", err)
	}
	c.W.Header().Set("Content-Disposition", `attachment; filename="contacts.mobileconfig"`)
	return httpapi.Content{Type: "application/x-apple-aspen-config", Bytes: document}, nil
}

// profile is a configuration profile with one account for contacts, com.apple.carddav.account in Apple's "Configuration Profile
// Reference". A later one for the same user replaces it on the phone.
func (s *Server) profile(user matrix.UserID, password string) ([]byte, error) {
	base, err := url.Parse(s.cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("public_base_url: %w", err)
	}
	secure := base.Scheme == "https"
	port := base.Port()
	if port == "" {
		port = map[bool]string{true: "443", false: "80"}[secure]
	}
	sum := sha256.Sum256([]byte("profile " + s.cfg.BaseURL + " " + string(user)))
	identifier := "org.roomline.contacts." + hex.EncodeToString(sum[:8])
	var b strings.Builder
	text := func(key, value string) {
		b.WriteString("<key>" + key + "</key><string>" + escape(value) + "</string>\n")
	}
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadContent</key><array><dict>
`)
	text("PayloadType", "com.apple.carddav.account")
	text("PayloadIdentifier", identifier+".carddav")
	text("PayloadUUID", uuidOf(sum[:16], 1))
	text("PayloadDisplayName", "Contacts")
	b.WriteString("<key>PayloadVersion</key><integer>1</integer>\n")
	text("CardDAVAccountDescription", string(user.Domain()))
	text("CardDAVHostName", base.Hostname())
	b.WriteString("<key>CardDAVPort</key><integer>" + port + "</integer>\n")
	b.WriteString("<key>CardDAVUseSSL</key><" + map[bool]string{true: "true", false: "false"}[secure] + "/>\n")
	text("CardDAVPrincipalURL", strings.TrimSuffix(base.Path, "/")+principalPath(user))
	text("CardDAVUsername", loginName(user))
	text("CardDAVPassword", password)
	b.WriteString("</dict></array>\n")
	text("PayloadType", "Configuration")
	text("PayloadIdentifier", identifier)
	text("PayloadUUID", uuidOf(sum[16:], 2))
	text("PayloadDisplayName", "Contacts of "+string(user))
	text("PayloadDescription", "Puts the address books of "+string(user)+" onto this device.")
	b.WriteString("<key>PayloadVersion</key><integer>1</integer>\n<key>PayloadRemovalDisallowed</key><false/>\n</dict></plist>\n")
	return []byte(b.String()), nil
}

// uuidOf makes a UUID of 16 bytes.
func uuidOf(raw []byte, salt byte) string {
	var u [16]byte
	copy(u[:], raw)
	u[0] ^= salt
	u[6] = u[6]&0x0f | 0x80 // version 8: made of something else
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// signer returns what signs profiles. One that is not signed is given out for trying out only: a phone warns of it in red.
func (s *Server) signer() (func([]byte) ([]byte, error), error) {
	if s.cfg.Certificate == nil {
		if s.cfg.UnsignedProfiles {
			return func(document []byte) ([]byte, error) { return document, nil }, nil
		}
		return nil, matrix.NotFound("profiles for phones need a certificate in the server's configuration")
	}
	pair, err := s.cfg.Certificate()
	if err != nil {
		return nil, fmt.Errorf("the certificate for profiles: %w", err)
	}
	return func(document []byte) ([]byte, error) { return Sign(document, pair) }, nil
}

// Sign wraps a profile into PKCS #7 signed data (RFC 2315), with the chain of the certificate.
func Sign(document []byte, pair *tls.Certificate) ([]byte, error) {
	if err := CheckSigner(pair); err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("the certificate: %w", err)
		}
		chain = append(chain, certificate)
	}
	signed, err := pkcs7.NewSignedData(document)
	if err != nil {
		return nil, err
	}
	signed.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := signed.AddSigner(chain[0], pair.PrivateKey, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	for _, certificate := range chain[1:] {
		signed.AddCertificate(certificate)
	}
	return signed.Finish()
}

// CheckSigner reports a key that profiles can't be signed with.
func CheckSigner(pair *tls.Certificate) error {
	switch pair.PrivateKey.(crypto.Signer).Public().(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return nil
	}
	return errors.New("profiles for phones need a certificate with an RSA or ECDSA key")
}
