// Package keys is what devices that encrypt need of a server: their public keys, one-time keys to claim, cross-signing, backups of
// room keys, and dehydrated devices. The server reads none of what they protect.
//
// Spec: client-server v1.19 §end-to-end-encryption
//
// A file is a section of that chapter:
//
//   - upload.go, query.go, claim.go: the keys of devices, and one-time keys that are given to one person each.
//   - crosssigning.go, signatures.go: users' identities, and who has signed what. signed.go takes signed objects apart.
//   - changes.go: whose devices changed between two syncs. What a sync itself says of devices and counts is in clientapi/sync.
//   - backup.go, restore.go, dehydrated.go: what devices leave with the server, encrypted.
//   - epoch.go: what becomes of one-time keys when the database is restored.
//
// Invariants:
//
//   - Stored keys are canonical JSON that everybody may see as it is: only the owner's signatures are in it. What a user has signed of
//     another's identity lies apart, and is told to the signer alone. So an answer to /keys/query is put together from stored bytes.
//   - A one-time key that was given away is never offered again: the row stays a while as a hash, and another incarnation of the
//     database gives none of its keys away.
//   - Whatever others see of a user's devices changes in one transaction with the journal's KindDeviceList that tells them, and what a
//     device has on offer with the KindKeyCount that tells the device, whichever process it waits at.
//   - A signature that comes by itself is verified before it is stored. Those in device keys are not: whoever uses the keys has to.
//
// Not done: counting one-time keys in a column. Counting the rows of a device takes less than the lock that a counter would need.
//
// Start reading at UploadKeys.
package keys

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Config of a Server. All fields are required.
type Config struct {
	Store       *store.Store
	Journal     *journal.Journal
	Interactive *auth.Interactive
	Clock       matrix.Clock
	Log         *slog.Logger
}

// Server is the keys of users and devices. It is safe for concurrent use.
type Server struct {
	cfg Config
	// named is how the database's incarnation is named, once that is known.
	named atomic.Pointer[store.Incarnation]
}

// New returns a Server; it must be made before the journal runs.
func New(cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Journal": cfg.Journal == nil, "Interactive": cfg.Interactive == nil, "Clock": cfg.Clock == nil, "Log": cfg.Log == nil,
	} {
		if missing {
			return nil, errors.New("keys: Config." + name + " is missing")
		}
	}
	return &Server{cfg: cfg}, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }
