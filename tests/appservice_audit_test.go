package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// audited are the lines of the audit log about an action: actor, target, outcome and detail.
func audited(t *testing.T, dep *hstest.Deployment, action string) (lines []string) {
	t.Helper()
	db := storetest.DB(t, dep.DSN)
	rows, err := db.Query(`SELECT actor || ' ' || target || ' ' || outcome || ' ' || detail::text FROM audit_log WHERE action = $1 ORDER BY seq`, action)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestWhatServicesDoIsAuditedByTheHour(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	acme := dep.Organisation(t, "Acme", "acme.test")
	s := startService(t, "hs-token-of-counted")
	as := register(t, dep, acme.Owner, ownServices, registrationOf("counted", s, map[string]any{
		"roomline": map[string]any{"view": map[string]any{"event_types": []string{"*"}, "act": []string{"read"}}}}))
	for process := range 2 {
		for as.do(process, "", "GET", hstest.Path("joined_rooms"), nil).Status != 200 {
			time.Sleep(10 * time.Millisecond) // the other process has to learn of it
		}
		as.do(process, "", "GET", hstest.Path("sync"), nil)
	}
	db := storetest.DB(t, dep.DSN)
	// What was counted on both processes is put into hours that are over: two, if one has ended meanwhile, and then the first may be in the
	// audit log already.
	hstest.Eventually(t, "the counts of both processes", func() bool {
		reads, refused := accesses(t, audited(t, dep, "appservice.access"))
		var moreReads, moreRefused int64
		err := db.QueryRow(`SELECT coalesce(sum(requests) FILTER (WHERE class = 'read'), 0), coalesce(sum(refused), 0) FROM appservice_access`).Scan(&moreReads, &moreRefused)
		return err == nil && reads+moreReads >= 2 && refused+moreRefused == 2
	})
	if _, err := db.Exec(`UPDATE appservice_access SET hour_ts = hour_ts - 86400000`); err != nil {
		t.Fatal(err)
	}
	var lines []string
	hstest.Eventually(t, "the audit log", func() bool {
		lines = audited(t, dep, "appservice.access")
		reads, refused := accesses(t, lines)
		return reads >= 2 && refused == 2
	})
	all := strings.Join(lines, "\n")
	if !strings.Contains(all, `appservice:counted counted ok`) || !strings.Contains(all, "appservice:counted counted refused") {
		t.Errorf("the audit log says %s", all)
	}
}

// accesses adds up what the audit log says of requests. There is one line for each class and hour.
func accesses(t *testing.T, lines []string) (reads, refused int64) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range lines {
		detail := gjson.Parse(line[strings.Index(line, "{"):])
		hour := detail.Get("class").String() + detail.Get("hour_ts").String()
		if seen[hour] {
			t.Errorf("more than one line for an hour: %v", lines)
		}
		seen[hour] = true
		refused += detail.Get("refused").Int()
		if detail.Get("class").String() == "read" {
			reads += detail.Get("requests").Int()
		}
	}
	return reads, refused
}
