package store_test

import (
	"context"
	"os"
	"testing"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// describe lists everything that a schema consists of, a line each.
func describe(t *testing.T, dsn string) []string {
	t.Helper()
	db := storetest.DB(t, dsn)
	rows, err := db.Query(`
		WITH tables AS (
			SELECT c.oid, c.relname, c.reloptions FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname <> 'goose_db_version'
		)
		SELECT 'table ' || relname || ' ' || coalesce(reloptions::text, '') FROM tables
		UNION ALL
		SELECT 'column ' || t.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
			|| CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || ' ' || a.attidentity::text || a.attcompression::text
			|| coalesce(' collate ' || (SELECT collname FROM pg_collation WHERE oid = a.attcollation), '')
			|| coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
		FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
		UNION ALL
		SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM tables t JOIN pg_index i ON i.indrelid = t.oid
		UNION ALL
		SELECT 'constraint ' || t.relname || ' ' || c.conname || ' ' || pg_get_constraintdef(c.oid)
		FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid
		UNION ALL
		SELECT 'sequence ' || sequencename || ' ' || start_value || ' ' || increment_by
		FROM pg_sequences WHERE schemaname = 'public' AND sequencename <> 'goose_db_version_id_seq'
		UNION ALL
		SELECT 'function ' || pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'public'
		UNION ALL
		SELECT 'trigger ' || pg_get_triggerdef(g.oid) FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if len(lines) < 50 {
		t.Fatalf("the description of the schema has %d lines", len(lines))
	}
	return lines
}

// load runs the statements of a file on an empty database and returns its connection string.
func load(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dsn := storetest.EmptyDSN(t)
	db := storetest.DB(t, dsn)
	if _, err := db.Exec(string(text)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return dsn
}

func sameSchema(t *testing.T, what string, got, want []string) {
	t.Helper()
	have := map[string]bool{}
	for _, line := range got {
		have[line] = true
	}
	for _, line := range want {
		if !have[line] {
			t.Errorf("%s lacks: %s", what, line)
		}
		delete(have, line)
	}
	for line := range have {
		t.Errorf("%s has besides: %s", what, line)
	}
}

func TestSchemaFileSaysWhatTheMigrationsMake(t *testing.T) {
	t.Parallel()
	sameSchema(t, "schema.sql", describe(t, load(t, "schema.sql")), describe(t, storetest.DSN(t)))
}

// TestFirstSchemaBecomesTheLatest begins with the schema of the first release as it was then, whatever the migration says today.
func TestFirstSchemaBecomesTheLatest(t *testing.T) {
	t.Parallel()
	dsn := load(t, "testdata/schema-1.sql")
	st, err := store.Open(context.Background(), dsn, store.Options{AllowUnsafeSettings: true})
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	sameSchema(t, "the migrated first schema", describe(t, dsn), describe(t, storetest.DSN(t)))
}
