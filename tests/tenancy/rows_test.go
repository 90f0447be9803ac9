package tenancy

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// untold are tables whose rows change by themselves.
var untold = map[string]bool{"presence_seen": true, "followers": true, "rate_limits": true, "processes": true, "audit_heads": true, "goose_db_version": true}

// rows has what belongs to the first organisation, by table.
func (d *deployment) rows(t *testing.T) map[string][]string {
	t.Helper()
	columns := d.columns(t)
	all := map[string][]string{}
	for table, names := range columns {
		if untold[table] {
			continue
		}
		// Of the organisation, of its rooms, or naming its people; but not what ours have said of them.
		where := fmt.Sprintf(`x::text LIKE '%%%s%%' AND x::text NOT LIKE '%%%s%%'`, theirs, ours)
		if names["organisation_id"] {
			where += fmt.Sprintf(" OR organisation_id = %d", d.orgs[theirs].ID)
		}
		if names["room_nid"] {
			where += fmt.Sprintf(" OR room_nid IN (SELECT room_nid FROM rooms WHERE organisation_id = %d)", d.orgs[theirs].ID)
		}
		if names["organisation_id"] {
			where = fmt.Sprintf("organisation_id IS DISTINCT FROM %d AND (%s)", d.orgs[ours].ID, where)
		}
		switch table {
		case "updates":
			where = "kind <> 4 AND (" + where + ")" // presence
		case "audit_log":
			where = "NOT (action = 'login' AND outcome = 'refused') AND (" + where + ")" // wrong passwords are noted where the account is
		case "media_objects":
			where = "state = 'stored' AND (" + where + ")" // what is gone is swept when its time has come
		}
		// When a device was last seen comes late.
		rows, err := d.db.Query(fmt.Sprintf(`SELECT (to_jsonb(x) - 'last_seen_ts' - 'last_seen_ip')::text FROM %s x WHERE %s ORDER BY 1`, table, where))
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		all[table] = []string{}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			all[table] = append(all[table], row)
		}
		rows.Close()
	}
	return all
}

func (d *deployment) columns(t *testing.T) map[string]map[string]bool {
	t.Helper()
	rows, err := d.db.Query(`SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
		WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns := map[string]map[string]bool{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		if columns[table] == nil {
			columns[table] = map[string]bool{}
		}
		columns[table][column] = true
	}
	return columns
}

// undone is how much of what is done in the background is still to be done: followers that are behind the journal, and queues.
const undone = `SELECT (SELECT count(*) FROM followers WHERE position < greatest((SELECT max(position) FROM events), (SELECT max(position) FROM updates)))
	+ (SELECT count(*) FROM room_deletions WHERE done_ts IS NULL) + (SELECT count(*) FROM erasures WHERE done_ts IS NULL)
	+ (SELECT count(*) FROM new_threepids) + (SELECT count(*) FROM media_unlinked)`

// settled is rows when what is done in the background is done.
func (d *deployment) settled(t *testing.T) map[string][]string {
	t.Helper()
	last, since := d.rows(t), time.Now()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		time.Sleep(300 * time.Millisecond)
		var left int
		if err := d.db.QueryRow(undone).Scan(&left); err != nil {
			t.Fatal(err)
		}
		now := d.rows(t)
		if left > 0 || fmt.Sprint(now) != fmt.Sprint(last) {
			last, since = now, time.Now()
		} else if time.Since(since) > 2*time.Second {
			return last
		}
	}
	t.Fatal("the rows do not come to rest")
	return nil
}

// unchanged compares the rows with those of before.
func (d *deployment) unchanged(t *testing.T, before map[string][]string) {
	t.Helper()
	for table, now := range d.settled(t) {
		for _, row := range now {
			if !slices.Contains(before[table], row) {
				t.Errorf("a row of the other organisation is new or changed: %s %.500s", table, row)
			}
		}
		for _, row := range before[table] {
			if !slices.Contains(now, row) {
				t.Errorf("a row of the other organisation is gone or changed: %s %.500s", table, row)
			}
		}
	}
}
