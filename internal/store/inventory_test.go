package store

import (
	"os"
	"regexp"
	"testing"
)

// TestInventoryHasEveryTable is what fails when a table is added and nobody has said whose data is in it.
func TestInventoryHasEveryTable(t *testing.T) {
	t.Parallel()
	schema, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^CREATE (?:UNLOGGED )?TABLE (\w+)`).FindAllStringSubmatch(string(schema), -1) {
		missing[m[1]] = true
	}
	for _, p := range Inventory {
		switch {
		case !missing[p.Table]:
			t.Errorf("the inventory has the table %s twice, or there is none", p.Table)
		case (p.Export == "") == (p.NotExported == ""):
			t.Errorf("%s: either it is exported, or there is a reason why it is not", p.Table)
		case (p.Erase == "" || len(p.Residue) > 0) && p.Why == "" && p.NotExported != "" && p.Erase == "":
			t.Errorf("%s: either it is erased, or there is a reason why it is not", p.Table)
		case len(p.Residue) > 0 && p.Why == "":
			t.Errorf("%s: what stays has no reason", p.Table)
		}
		delete(missing, p.Table)
	}
	for table := range missing {
		t.Errorf("the table %s is not in the inventory (inventory.go): whose data is it, and how is it erased and exported?", table)
	}
}
