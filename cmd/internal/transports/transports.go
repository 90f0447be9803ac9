package transports

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/inbox"
	"github.com/roomline/roomline/appservices/telephony/mail"
	"github.com/roomline/roomline/appservices/telephony/sms"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// Set is what messages are sent with.
type Set struct {
	// ByMedium are email and msisdn, those of them that are configured.
	ByMedium map[string]telephony.Transport
	// Routes are what gateways ask: they tell what became of messages.
	Routes []httpapi.Route
}

// Development says where messages are kept that are not sent, and read in a browser.
type Development struct {
	// Dir is the folder; From is whom mails are from, and BaseURL where the server is reached.
	Dir, From, BaseURL string
}

// New makes what is configured. What is not goes into the development inbox, if there is one.
func New(t *config.Telephony, development *Development, log *slog.Logger) (Set, error) {
	set := Set{ByMedium: map[string]telephony.Transport{}}
	if t.Email.SMTP.Address != "" {
		m, err := newMail(&t.Email, log)
		if err != nil {
			return set, fmt.Errorf("telephony.email.smtp: %w", err)
		}
		set.ByMedium[outbox.Email] = m
	}
	if t.SMS.Transport != "" {
		s, err := SMS(&t.SMS, log)
		if err != nil {
			return set, fmt.Errorf("telephony.sms: %w", err)
		}
		set.ByMedium[outbox.Msisdn], set.Routes = s, s.Routes()
	}
	if development != nil && len(set.ByMedium) < 2 {
		if err := set.addInbox(&t.Email, development, log); err != nil {
			return set, err
		}
	}
	return set, nil
}

func (set *Set) addInbox(e *config.Email, d *Development, log *slog.Logger) error {
	writer, err := newWriter(e, d.From)
	if err != nil {
		return fmt.Errorf("development inbox: %w", err)
	}
	kept, err := inbox.New(inbox.Config{Dir: d.Dir, Mails: writer, SMS: sms.Render, BaseURL: d.BaseURL, Clock: matrix.SystemClock{}, Log: log})
	if err != nil {
		return err
	}
	for _, medium := range []string{outbox.Email, outbox.Msisdn} {
		if set.ByMedium[medium] == nil {
			set.ByMedium[medium] = kept
		}
	}
	set.Routes = append(set.Routes, kept.Routes()...)
	return nil
}

// authorities reads a file of certificate authorities; nil for no file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

func newWriter(e *config.Email, from string) (*mail.Writer, error) {
	location, err := time.LoadLocation(e.Timezone)
	if err != nil {
		return nil, fmt.Errorf("timezone: %w", err)
	}
	return mail.NewWriter(mail.WriterConfig{From: from, Product: e.Product, Location: location})
}

var securities = map[string]mail.Security{"starttls": mail.StartTLS, "implicit": mail.ImplicitTLS, "none": mail.Plain}

func newMail(e *config.Email, log *slog.Logger) (telephony.Transport, error) {
	c := &e.SMTP
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", port, err)
	}
	pool, err := authorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	writer, err := newWriter(e, c.From)
	if err != nil {
		return nil, err
	}
	return mail.New(mail.Config{
		Writer: writer, Host: host, Port: number, Security: securities[c.TLS], CAs: pool, Username: c.Username, Password: c.Password.Reveal(), Log: log,
	})
}
