package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// SchemaHash names the schema that this program makes: databases with equal hashes are interchangeable while they are empty.
func SchemaHash() (string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range names { // in order of the names
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}
