package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/mediaapi"
	"github.com/roomline/roomline/mediaapi/blob"
	"github.com/roomline/roomline/mediaapi/preview"
	"github.com/roomline/roomline/mediaapi/scan"
	"github.com/roomline/roomline/roomserver"
)

func deletionPolicy(cfg *config.Config) roomserver.DeletionPolicy {
	d := cfg.Deletion
	return roomserver.DeletionPolicy{
		File: roomserver.Deleter(d.File), Text: roomserver.Deleter(d.Text), Voice: roomserver.Deleter(d.Voice),
		Encrypted: roomserver.Deleter(d.Encrypted), EncryptedMedia: roomserver.Deleter(d.EncryptedMedia),
	}
}

// openBlobs opens the store of media. A bucket that can't be reached is no reason not to start: chat goes on without it.
func openBlobs(cfg *config.Config) (blob.Store, error) {
	m := &cfg.Media
	if m.Store != config.MediaS3 {
		folder := m.Folder
		if folder == "" {
			folder = filepath.Join(cfg.DataDir, "media")
		}
		store, err := blob.NewFolder(folder)
		if err != nil {
			return nil, fmt.Errorf("media.folder: %w", err)
		}
		return store, nil
	}
	s3 := blob.S3Config{
		Public: strings.TrimSuffix(m.S3.PublicEndpoint, "/"), Region: m.S3.Region, Bucket: m.S3.Bucket, Prefix: m.S3.Prefix, PathStyle: m.S3.PathStyle,
		AccessKey: m.S3.AccessKey, SecretKey: m.S3.SecretKey.Reveal(), SSE: strings.TrimPrefix(m.S3.Encryption, "SSE-"),
	}
	secure, plain := strings.CutPrefix(m.S3.Endpoint, "https://")
	if s3.TLS = plain; !plain {
		secure = strings.TrimPrefix(m.S3.Endpoint, "http://")
	}
	s3.Endpoint = strings.TrimSuffix(secure, "/")
	if m.S3.CAFile != "" {
		pem, err := os.ReadFile(m.S3.CAFile)
		if err != nil {
			return nil, fmt.Errorf("media.s3.ca_file: %w", err)
		}
		s3.RootCAs = x509.NewCertPool()
		if !s3.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("media.s3.ca_file: no certificate in %s", m.S3.CAFile)
		}
	}
	store, err := blob.NewS3(s3)
	if err != nil {
		return nil, fmt.Errorf("media.s3: %w", err)
	}
	return store, nil
}

// newMedia puts the content repository together.
func (a *app) newMedia(ctx context.Context, cfg *config.Config) (*mediaapi.Server, error) {
	blobs, err := openBlobs(cfg)
	if err != nil {
		return nil, err
	}
	checking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := blobs.Check(checking); err != nil {
		a.log.Warn("the media store can't be used at the moment", "error", err)
	}
	m := &cfg.Media
	c := mediaapi.Config{
		Store: a.store, Journal: a.journal, Blobs: blobs, Rooms: a.rooms, Sign: a.keys.SignJSON, Clock: a.clock, Log: a.log,
		Defaults: mediaapi.Policy{
			MaxUploadSize: number(m.MaxUploadSize), UserQuota: number(m.UserQuota), OrganisationQuota: number(m.OrganisationQuota),
			UserFiles: number(m.UserFiles),
		},
		GuestLimits: a.guestLimits, Retention: m.Retention, Previews: mediaapi.PreviewMode(m.URLPreviews), UnusedFor: m.UnusedFor,
		AcceptOversize: m.ClamAV.Oversize == "accept", Presigned: m.PresignedDownloads,
		QuotaInfoURL: cmp.Or(m.QuotaInfoURL, cfg.PublicBaseURL, "https://"+cfg.ServerName),
	}
	if m.ClamAV.Address != "" {
		c.Scanner = &scan.Clamd{Address: m.ClamAV.Address}
	}
	if m.UnauthenticatedUntil != "" {
		until, err := time.Parse(time.RFC3339, m.UnauthenticatedUntil)
		if err != nil {
			return nil, fmt.Errorf("media.unauthenticated_until: %w", err)
		}
		c.UnauthenticatedUntil = matrix.TimestampOf(until)
	}
	if m.URLPreviews != config.URLPreviewsOff {
		// Not outbound.allowed_addresses: what is there is for nobody to look into.
		allowed, err := networks("media.url_preview_addresses", m.URLPreviewAddresses)
		if err != nil {
			return nil, err
		}
		c.Fetcher = newFetcher(allowed)
		c.PreviewDomains = mediaapi.Domains{Allow: m.URLPreviewAllow, Deny: m.URLPreviewDeny}
	}
	return mediaapi.New(c), nil
}

func number(n int) *int64 {
	n64 := int64(n)
	return &n64
}

// newFetcher fetches pages for previews, as anybody on the Internet could.
func newFetcher(allowed []netip.Prefix) *preview.Fetcher {
	return preview.New(preview.Config{
		Client:    outbound.New(outbound.Config{Allowed: allowed}),
		UserAgent: "Roomline (link preview)",
	})
}
