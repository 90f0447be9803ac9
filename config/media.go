package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Media is files, pictures and recordings.
type Media struct {
	// Store is folder or s3: where the bytes are. Several processes on several machines need s3.
	Store MediaStore `yaml:"store"`

	// Folder is for the store folder. Empty: media in data_dir.
	Folder string `yaml:"folder"`

	// S3 is for the store s3: a bucket of any server that speaks S3, such as MinIO.
	S3 S3 `yaml:"s3"`

	// PresignedDownloads sends clients that allow it to the bucket itself, with an address that is good for a minute: s3.public_endpoint, or
	// else s3.endpoint. A browser shows nothing of it, it only saves.
	PresignedDownloads bool `yaml:"presigned_downloads"`

	// MaxUploadSize is the largest file, in bytes.
	MaxUploadSize int `yaml:"max_upload_size"`

	// UserQuota and organisation_quota bound how much a user and an organisation may have, in bytes. 0: no bound. Organisations may be given
	// others.
	UserQuota int `yaml:"user_quota"`

	// OrganisationQuota is the bound for all users of an organisation together.
	OrganisationQuota int `yaml:"organisation_quota"`

	// UserFiles bounds how many files a user may have. 0: no bound.
	UserFiles int `yaml:"user_files"`

	// QuotaInfoURL is where users are sent who have used their quota up. Empty: public_base_url, or else the server's
	// name.
	QuotaInfoURL string `yaml:"quota_info_url"`

	// UnusedFor is how long a file is kept that was uploaded and not sent.
	UnusedFor time.Duration `yaml:"unused_for"`

	// Retention removes media by age, for each kind: file, image, video, audio, voice, sticker, encrypted, other. Avatars stay.
	Retention map[string]time.Duration `yaml:"retention" example:"{voice: 2160h}"`

	// UnauthenticatedUntil serves media that was uploaded before this time (RFC 3339) to everybody who knows its address, as was
	// usual before Matrix 1.11. Empty: nothing.
	UnauthenticatedUntil string `yaml:"unauthenticated_until" example:"2024-09-01T00:00:00Z"`

	// URLPreviews is off; asked (for the organisations that want it); or on (but for those that don't): clients may ask what is behind a
	// link, and the server fetches the page.
	URLPreviews URLPreviews `yaml:"url_previews"`

	// URLPreviewAddresses are addresses and networks (CIDR) that previews may reach although they are not public. Every user can look into
	// them then.
	URLPreviewAddresses []string `yaml:"url_preview_addresses" example:"[10.30.0.0/16]"`

	// URLPreviewAllow are the domains of which previews are fetched, with those below them. Empty: all.
	URLPreviewAllow []string `yaml:"url_preview_allow" example:"[example.org]"`

	// URLPreviewDeny are domains of which none are, with those below them.
	URLPreviewDeny []string `yaml:"url_preview_deny" example:"[example.com]"`

	// ClamAV judges uploads.
	ClamAV ClamAV `yaml:"clamav"`
}

// MediaStore is where the bytes of media are.
type MediaStore string

// The stores.
const (
	MediaFolder MediaStore = "folder"
	MediaS3     MediaStore = "s3"
)

// URLPreviews says for whom pages are fetched.
type URLPreviews string

// For whom.
const (
	URLPreviewsOff   URLPreviews = "off"
	URLPreviewsAsked URLPreviews = "asked"
	URLPreviewsOn    URLPreviews = "on"
)

// S3 is a bucket.
type S3 struct {
	// Endpoint is the server's address. http:// is for networks that nobody else is in.
	Endpoint string `yaml:"endpoint" example:"https://minio.internal:9000"`

	// PublicEndpoint is the address of the same server for clients, which presigned_downloads sends them to. It needs region. Empty: endpoint.
	PublicEndpoint string `yaml:"public_endpoint" example:"https://files.example.org"`

	// Region of the bucket.
	Region string `yaml:"region"`

	// Bucket has to exist.
	Bucket string `yaml:"bucket" example:"roomline-media"`

	// Prefix of all keys, if others use the bucket, too.
	Prefix string `yaml:"prefix"`

	// PathStyle puts the bucket into the path (MinIO) and not into the host name (AWS).
	PathStyle bool `yaml:"path_style"`

	// AccessKey and secret_key are those of a user who may read, write, list and delete in the bucket.
	AccessKey string `yaml:"access_key"`

	// SecretKey belongs to access_key.
	SecretKey Secret `yaml:"secret_key"`

	// CAFile holds the certificate authorities (PEM) that the server's certificate is checked with, in place of the system's.
	CAFile string `yaml:"ca_file"`

	// Encryption at rest: empty, SSE-S3, or SSE-KMS:<key id>.
	Encryption string `yaml:"encryption"`
}

// ClamAV is a virus scanner.
type ClamAV struct {
	// Address of clamd: host:port, or unix:/path of its socket. Empty: uploads are not judged. While it is away nothing can be
	// uploaded.
	Address string `yaml:"address" example:"unix:/run/clamav/clamd.ctl"`

	// Oversize says what becomes of files that are larger than clamd takes (StreamMaxLength): refuse or accept.
	Oversize string `yaml:"oversize"`
}

// Deletion is who may delete what they sent.
type Deletion struct {
	// File is files, pictures, videos, recordings and stickers.
	File string `yaml:"file"`

	// Text is messages of text, and polls.
	Text string `yaml:"text"`

	// Voice is voice messages.
	Voice string `yaml:"voice"`

	// Encrypted is what the server can't see the kind of.
	Encrypted string `yaml:"encrypted"`

	// EncryptedMedia is encrypted events with which a file was uploaded.
	EncryptedMedia string `yaml:"encrypted_media"`
}

func defaultMedia() Media {
	return Media{
		Store: MediaFolder, MaxUploadSize: 100 << 20, URLPreviews: URLPreviewsOff, UnusedFor: 24 * time.Hour,
		S3: S3{Region: "us-east-1", PathStyle: true}, ClamAV: ClamAV{Oversize: "refuse"},
	}
}

func (c *Config) checkMedia(l *complaints) {
	m := &c.Media
	for _, one := range []struct {
		field, value string
		words        []string
	}{
		{"media.store", string(m.Store), []string{string(MediaFolder), string(MediaS3)}},
		{"media.url_previews", string(m.URLPreviews), []string{string(URLPreviewsOff), string(URLPreviewsAsked), string(URLPreviewsOn)}},
		{"media.clamav.oversize", m.ClamAV.Oversize, []string{"refuse", "accept"}},
		{"deletion.file", c.Deletion.File, []string{"sender", "owner"}},
		{"deletion.text", c.Deletion.Text, []string{"sender", "owner"}},
		{"deletion.voice", c.Deletion.Voice, []string{"sender", "owner"}},
		{"deletion.encrypted", c.Deletion.Encrypted, []string{"sender", "owner"}},
		{"deletion.encrypted_media", c.Deletion.EncryptedMedia, []string{"sender", "owner"}},
	} {
		if !slices.Contains(one.words, one.value) {
			l.add(one.field, "must be %s, not %q", strings.Join(one.words, " or "), one.value)
		}
	}
	if m.Store == MediaS3 {
		m.S3.check(l)
	}
	if m.MaxUploadSize < 1 || m.MaxUploadSize > 5<<30 {
		l.add("media.max_upload_size", "must be between 1 byte and 5 GiB, not %d", m.MaxUploadSize)
	}
	if m.UserQuota < 0 || m.OrganisationQuota < 0 || m.UserFiles < 0 {
		l.add("media", "user_quota, organisation_quota and user_files must not be negative")
	}
	m.checkAges(l)
	m.checkPreviews(l)
}

func (s *S3) check(l *complaints) {
	if !isBaseURL(s.Endpoint) {
		l.add("media.s3.endpoint", "must be an http or https URL, not %q", s.Endpoint)
	}
	if s.Bucket == "" || s.AccessKey == "" || s.SecretKey == "" {
		l.add("media.s3", "needs bucket, access_key and secret_key")
	}
	switch public := s.PublicEndpoint; {
	case public == "":
	case !isBaseURL(public):
		l.add("media.s3.public_endpoint", "must be an http or https URL, not %q", public)
	case s.Region == "":
		l.add("media.s3.public_endpoint", "needs media.s3.region")
	}
	if e := s.Encryption; e != "" && e != "SSE-S3" && !strings.HasPrefix(e, "SSE-KMS:") {
		l.add("media.s3.encryption", "must be empty, SSE-S3 or SSE-KMS: with the id of a key, not %q", e)
	}
}

// checkAges is about how long media stays, and since when one has to sign in for it.
func (m *Media) checkAges(l *complaints) {
	if m.UnusedFor < time.Minute || m.UnusedFor > 366*24*time.Hour {
		l.add("media.unused_for", "must be between a minute and a year, not %s", m.UnusedFor)
	}
	if m.UnauthenticatedUntil != "" {
		if _, err := time.Parse(time.RFC3339, m.UnauthenticatedUntil); err != nil {
			l.add("media.unauthenticated_until", "must be a time such as 2024-09-01T00:00:00Z, not %q", m.UnauthenticatedUntil)
		}
	}
	for kind, age := range m.Retention {
		if !slices.Contains([]string{"file", "image", "video", "audio", "voice", "sticker", "encrypted", "other"}, kind) {
			l.add("media.retention."+kind, "is no kind of media")
		} else if age < time.Hour {
			l.add("media.retention."+kind, "must be at least an hour, not %s", age)
		}
	}
}

// checkPreviews is about the pages that are fetched for previews.
func (m *Media) checkPreviews(l *complaints) {
	for i, network := range m.URLPreviewAddresses {
		if _, err := Network(network); err != nil {
			l.add(fmt.Sprintf("media.url_preview_addresses[%d]", i), "must be an address or a network such as 10.30.0.0/16, not %q", network)
		}
	}
	for name, domains := range map[string][]string{"url_preview_allow": m.URLPreviewAllow, "url_preview_deny": m.URLPreviewDeny} {
		for i, domain := range domains {
			if domain == "" || strings.ContainsAny(domain, "/*@ ") {
				l.add(fmt.Sprintf("media.%s[%d]", name, i), "must be a domain such as example.org, not %q", domain)
			}
		}
	}
}
