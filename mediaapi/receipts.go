package mediaapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// receipt is what is signed of a deletion, when all objects are removed.
type receipt struct {
	ID         int64            `json:"deletion_id"`
	ContentURI string           `json:"content_uri"`
	UserID     matrix.UserID    `json:"user_id"`
	Size       int64            `json:"size"`
	SHA256     string           `json:"sha256"`
	DeletedBy  matrix.UserID    `json:"deleted_by,omitempty"`
	Rule       string           `json:"rule"`
	EventID    matrix.EventID   `json:"event_id,omitempty"`
	DeletedTS  matrix.Timestamp `json:"deleted_ts"`
	RemovedTS  matrix.Timestamp `json:"removed_ts"`
	// Objects are the keys of what was removed from the store. None: other media of the organisation has the same content.
	Objects []string `json:"objects"`
}

// signReceipts makes the receipts of deletions whose objects are all removed.
func (s *Server) signReceipts(ctx context.Context) error {
	for ctx.Err() == nil {
		deletions, err := s.cfg.Store.ListUnsignedDeletions(ctx, sweepBatch)
		if err != nil {
			return fmt.Errorf("list deletions: %w", err)
		}
		if len(deletions) == 0 {
			return nil
		}
		var ids []int64
		var receipts [][]byte
		for i := range deletions {
			signed, err := s.signReceipt(&deletions[i])
			if err != nil {
				return err
			}
			ids, receipts = append(ids, deletions[i].ID), append(receipts, signed)
		}
		if err := s.cfg.Store.PutDeletionReceipts(ctx, ids, receipts); err != nil {
			return fmt.Errorf("store receipts: %w", err)
		}
	}
	return ctx.Err()
}

func (s *Server) signReceipt(d *store.Deletion) ([]byte, error) {
	text, err := json.Marshal(receipt{
		ID: d.ID, ContentURI: d.URI.String(), UserID: d.UserID, Size: d.Size, SHA256: base64.RawStdEncoding.EncodeToString(d.SHA256),
		DeletedBy: d.DeletedBy, Rule: d.Rule, EventID: d.EventID, DeletedTS: d.DeletedTS, RemovedTS: s.now(), Objects: d.Objects,
	})
	if err != nil {
		return nil, err
	}
	canonical, err := strictjson.Canonical(text)
	if err != nil {
		return nil, fmt.Errorf("receipt of %s: %w", d.URI, err)
	}
	signed, err := s.cfg.Sign(d.URI.Server, canonical)
	if err != nil {
		return nil, fmt.Errorf("sign the receipt of %s: %w", d.URI, err)
	}
	return signed, nil
}
