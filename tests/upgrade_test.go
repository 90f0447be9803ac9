package tests

import (
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// oldAccounts are accounts of the first release, which had no directory: their names, addresses and numbers.
const oldAccounts = `
	INSERT INTO hosted_domains (server_name, organisation_id, created_ts) VALUES ('hs.test', 1, 0);
	INSERT INTO users (user_id, organisation_id, created_ts) SELECT '@' || n || ':hs.test', 1, 0
		FROM unnest(ARRAY['b12', 'j7', 'w1', 'y4', 'old.name', 'gone', 'notices']) AS x (n);
	UPDATE users SET deactivated_ts = 1 WHERE user_id = '@gone:hs.test';
	INSERT INTO profiles (user_id, key, value) VALUES
		('@b12:hs.test', 'displayname', convert_to('"Björk Guðmundsdóttir"', 'UTF8')),
		('@j7:hs.test', 'displayname', '"J\\u00fcrgen M\\u00fcller"'),
		('@w1:hs.test', 'displayname', convert_to('"王小明"', 'UTF8')),
		('@y4:hs.test', 'displayname', convert_to('"Юлия Петрова"', 'UTF8'));
	INSERT INTO user_threepids (organisation_id, medium, address, user_id, added_ts, validated_ts) VALUES
		(1, 'email', 'bjork.g@music.example.is', '@b12:hs.test', 0, 0), (1, 'msisdn', '491712345678', '@y4:hs.test', 0, 0)`

// TestOldAccountsAreFoundAfterAnUpgrade begins with the schema of the first release. Its accounts are found by all that new ones are found by.
func TestOldAccountsAreFoundAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	schema, err := os.ReadFile("../internal/store/testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	dsn := storetest.EmptyDSN(t)
	db := storetest.DB(t, dsn)
	for _, statements := range []string{string(schema), oldAccounts} {
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
	}
	d := hstest.Start(t, hstest.Options{DSN: dsn})
	alice := d.User(t, "alice")
	found := func(term string) (users []string) {
		result := alice.MustDo(t, http.MethodPost, hstest.Path("user_directory", "search"), map[string]any{"search_term": term})
		for _, one := range result.Get("results").Array() {
			users = append(users, one.Get("user_id").String())
		}
		return users
	}
	for term, want := range map[string]string{
		"björk": "@b12:hs.test", "gudmunds": "@b12:hs.test", "gud bj": "@b12:hs.test", "music.example": "@b12:hs.test", "bjork.g@music": "@b12:hs.test",
		"jürgen": "@j7:hs.test", "muller": "@j7:hs.test", "mueller": "@j7:hs.test", "58743668": "@j7:hs.test", "66853758": "",
		"小明": "@w1:hs.test", "wang": "@w1:hs.test", "петр": "@y4:hs.test", "iuliia": "@y4:hs.test", "45678": "@y4:hs.test", "+49171": "@y4:hs.test",
		"name old": "@old.name:hs.test", "@gone": "", "gone": "",
	} {
		hstest.Eventually(t, term+" finds "+want, func() bool {
			users := found(term)
			return want == "" && users == nil || slices.Equal(users, []string{want})
		})
	}
}
