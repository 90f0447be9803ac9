package accounts

import (
	"archive/zip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Exports are archives of what there is of a person, or of a room. They are written while they are fetched, so that nothing of them is
// kept: what is stored is a token, good for one fetch and a short time.
//
// A person's archive has a file of JSON lines for each table of the inventory (store.Inventory), the files that the person has uploaded, and a
// manifest that says what is in it and what is not, and why.

// Link is where an archive is fetched, once.
type Link struct {
	Token     string
	ExpiresTS matrix.Timestamp
}

// ExportUser makes a link for the archive of a person of the organisation.
func (s *Server) ExportUser(ctx context.Context, a Actor, user matrix.UserID) (Link, error) {
	u, err := s.cfg.Store.GetUser(ctx, user)
	if err == nil && u.OrganisationID != a.Org {
		err = store.ErrNotFound
	}
	if err != nil {
		return Link{}, fmt.Errorf("look up %s: %w", user, err)
	}
	return s.newExport(ctx, a, store.Export{UserID: user}, "account.export", string(user))
}

// ExportRoom makes a link for the archive of a room of the organisation.
func (s *Server) ExportRoom(ctx context.Context, a Actor, room matrix.RoomID) (Link, error) {
	info, err := s.cfg.Rooms.Room(ctx, room)
	if err == nil && info.OrganisationID != a.Org {
		err = matrix.NotFound("room not found")
	}
	if err != nil {
		return Link{}, err
	}
	return s.newExport(ctx, a, store.Export{RoomID: room}, "room.export", string(room))
}

func (s *Server) newExport(ctx context.Context, a Actor, e store.Export, action, target string) (Link, error) {
	link := Link{Token: rand.Text() + rand.Text(), ExpiresTS: s.now().Add(limits.ExportKept)}
	hash := sha256.Sum256([]byte(link.Token))
	e.OrganisationID, e.RequestedBy, e.ExpiresTS, e.TokenHash = a.Org, a.Name, link.ExpiresTS, hash[:]
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.InsertExport(ctx, e, s.now()); err != nil {
			return err
		}
		return s.audit(ctx, tx, a, action, target, map[string]any{"expires_ts": link.ExpiresTS})
	})
	if err != nil {
		return Link{}, fmt.Errorf("make an export: %w", err)
	}
	return link, nil
}

// Archive is what a link stands for.
type Archive struct {
	s *Server
	e store.Export
}

// TakeExport uses a link up. It is M_NOT_FOUND when there is none, or none any more.
func (s *Server) TakeExport(ctx context.Context, token, ip string) (*Archive, error) {
	hash := sha256.Sum256([]byte(token))
	var e store.Export
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if e, err = tx.TakeExport(ctx, hash[:], s.now()); err != nil {
			return err
		}
		return s.audit(ctx, tx, Actor{Org: e.OrganisationID, Name: e.RequestedBy, IP: ip}, "export.fetch", e.Target(), nil)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("the link is used, has expired, or never was")
	}
	if err != nil {
		return nil, fmt.Errorf("use an export: %w", err)
	}
	return &Archive{s, e}, nil
}

// Write writes the archive.
func (a *Archive) Write(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	out := &archiveWriter{z: z, at: a.s.cfg.Clock.Now(), manifest: manifest{
		Format: "roomline-export-1", UserID: a.e.UserID, RoomID: a.e.RoomID, ExportedTS: a.s.now(), Files: map[string]int{},
	}}
	write := a.s.writeUser
	if a.e.RoomID != "" {
		write = a.s.writeRoom
	}
	if err := write(ctx, &a.e, out); err != nil {
		return err
	}
	if err := out.file("manifest.json", func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(out.manifest)
	}); err != nil {
		return err
	}
	return z.Close()
}

// manifest says what an archive has.
type manifest struct {
	Format     string           `json:"format"`
	UserID     matrix.UserID    `json:"user_id,omitempty"`
	RoomID     matrix.RoomID    `json:"room_id,omitempty"`
	ExportedTS matrix.Timestamp `json:"exported_ts"`
	// Files is how many lines each file has.
	Files       map[string]int    `json:"files"`
	NotExported map[string]string `json:"not_exported,omitempty"`
	// MissingMedia is media whose bytes are not here, or withheld.
	MissingMedia []string `json:"missing_media,omitempty"`
}

type archiveWriter struct {
	z        *zip.Writer
	at       time.Time
	manifest manifest
}

func (w *archiveWriter) file(name string, write func(io.Writer) error) error {
	f, err := w.z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: w.at})
	if err != nil {
		return err
	}
	return write(f)
}

// lines writes a file of JSON lines.
func (w *archiveWriter) lines(name string, each func(line func(json.RawMessage) error) error) error {
	return w.file(name, func(f io.Writer) error {
		return each(func(raw json.RawMessage) error {
			w.manifest.Files[name]++
			_, err := f.Write(append(raw, '\n'))
			return err
		})
	})
}

// media writes the bytes of media.
func (s *Server) writeMedia(ctx context.Context, out *archiveWriter, m *store.Media) error {
	missing := func() error {
		out.manifest.MissingMedia = append(out.manifest.MissingMedia, m.URI.String())
		return nil
	}
	if m.ObjectKey == "" || m.QuarantinedBy != "" {
		return missing()
	}
	r, err := s.cfg.OpenMedia(ctx, m)
	if err != nil {
		s.cfg.Log.Warn("media that is missing in an export", "media", m.URI.String(), "err", err)
		return missing()
	}
	defer r.Close()
	return out.file("media/"+string(m.URI.Server)+"/"+m.URI.MediaID, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

func (s *Server) writeUser(ctx context.Context, e *store.Export, out *archiveWriter) error {
	out.manifest.NotExported = map[string]string{}
	for _, p := range store.Inventory {
		if p.Export == "" {
			out.manifest.NotExported[p.Table] = p.NotExported
			continue
		}
		err := out.lines(p.Table+".jsonl", func(line func(json.RawMessage) error) error { return s.cfg.Store.ExportRows(ctx, p, e.UserID, line) })
		if err != nil {
			return fmt.Errorf("export %s: %w", p.Table, err)
		}
	}
	return s.writeAllMedia(ctx, out, store.MediaFilter{OrganisationID: e.OrganisationID, UserID: e.UserID})
}

// writeAllMedia writes what a filter chooses. The oldest comes first, so that what is uploaded meanwhile moves nothing.
func (s *Server) writeAllMedia(ctx context.Context, out *archiveWriter, f store.MediaFilter) error {
	const page = 200
	for from := 0; ; from += page {
		media, _, err := s.cfg.Store.ListMediaBy(ctx, f, store.MediaOrder{By: "created_ts"}, from, page)
		if err != nil {
			return fmt.Errorf("list media: %w", err)
		}
		for i := range media {
			if err := s.writeMedia(ctx, out, &media[i]); err != nil {
				return err
			}
		}
		if len(media) < page {
			return nil
		}
	}
}

func (s *Server) writeRoom(ctx context.Context, e *store.Export, out *archiveWriter) error {
	room, err := s.cfg.Rooms.Room(ctx, e.RoomID)
	if err != nil {
		return err
	}
	for name, query := range store.RoomInventory {
		err := out.lines(name+".jsonl", func(line func(json.RawMessage) error) error {
			return s.cfg.Store.ExportRoomRows(ctx, query, room.NID, line)
		})
		if err != nil {
			return fmt.Errorf("export %s of a room: %w", name, err)
		}
	}
	return s.writeAllMedia(ctx, out, store.MediaFilter{OrganisationID: e.OrganisationID, RoomNID: room.NID})
}
