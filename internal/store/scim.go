package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lib/pq"

	"github.com/roomline/roomline/internal/matrix"
)

// ScimUser is an account as a directory sees it.
type ScimUser struct {
	UserID         matrix.UserID
	OrganisationID int64
	// Managed says that a directory has made it or taken it over; else Resource is put together from what the account has.
	Managed    bool
	UserName   string
	ExternalID string
	// Resource is the JSON of the attributes that were given.
	Resource   []byte
	Locked     bool
	CreatedTS  matrix.Timestamp
	ModifiedTS matrix.Timestamp
	// Groups and GroupNames are the groups that the person is in.
	Groups, GroupNames []string
}

// scimUsers are the accounts that directories may see: people, not guests, and not what the server and application services speak with.
const scimUsers = `users u LEFT JOIN scim_users s ON s.user_id = u.user_id
	WHERE u.organisation_id = $1 AND u.deactivated_ts IS NULL AND NOT u.guest AND NOT u.machine`

const (
	scimUnmanagedName = `lower(substr(u.user_id, 2, strpos(u.user_id, ':') - 2) || '@' || substr(u.user_id, strpos(u.user_id, ':') + 1))`
	scimUserColumns   = `u.user_id, u.organisation_id, s.user_id IS NOT NULL, coalesce(s.user_name, ` + scimUnmanagedName + `), coalesce(s.external_id, ''),
	coalesce(s.resource, scim_resource(u.user_id)), u.locked, u.created_ts, coalesce(s.modified_ts, u.created_ts),
	ARRAY(SELECT m.group_id FROM scim_group_members m WHERE m.user_id = u.user_id ORDER BY m.group_id),
	ARRAY(SELECT g.display_name FROM scim_group_members m JOIN scim_groups g USING (group_id) WHERE m.user_id = u.user_id ORDER BY m.group_id)`
)

func scanScimUser(scan func(...any) error) (ScimUser, error) {
	var u ScimUser
	err := scan(&u.UserID, &u.OrganisationID, &u.Managed, &u.UserName, &u.ExternalID, &u.Resource, &u.Locked, &u.CreatedTS, &u.ModifiedTS,
		pq.Array(&u.Groups), pq.Array(&u.GroupNames))
	return u, err
}

// GetScimUser returns a person of an organisation, or ErrNotFound.
func (s *Store) GetScimUser(ctx context.Context, org int64, user matrix.UserID) (ScimUser, error) {
	return getScimUser(ctx, s, org, user)
}

// GetScimUser returns a person of an organisation, or ErrNotFound.
func (tx *Tx) GetScimUser(ctx context.Context, org int64, user matrix.UserID) (ScimUser, error) {
	return getScimUser(ctx, tx, org, user)
}

func getScimUser(ctx context.Context, q querier, org int64, user matrix.UserID) (ScimUser, error) {
	return scanScimUser(q.queryRow(ctx, `SELECT `+scimUserColumns+` FROM `+scimUsers+` AND u.user_id = $2`, org, string(user)).Scan)
}

// PutScimUser stores what a directory says of an account. It reports false when another account of the organisation has the user name.
func (tx *Tx) PutScimUser(ctx context.Context, u ScimUser) (bool, error) {
	n, err := tx.exec(ctx, `
		INSERT INTO scim_users (user_id, organisation_id, user_name, external_id, modified_ts, resource)
		SELECT $1, $2, $3, nullif($4, ''), $5, $6
		WHERE NOT EXISTS (SELECT FROM scim_users WHERE organisation_id = $2 AND user_name = $3 AND user_id <> $1)
		ON CONFLICT (user_id) DO UPDATE SET user_name = excluded.user_name, external_id = excluded.external_id,
			modified_ts = excluded.modified_ts, resource = excluded.resource`,
		string(u.UserID), u.OrganisationID, u.UserName, u.ExternalID, int64(u.ModifiedTS), string(u.Resource))
	return n == 1, err
}

// ListScimUsers returns the people of an organisation that a filter chooses (nil: all), in the order of their user ids, and how many
// there are.
func (s *Store) ListScimUsers(ctx context.Context, org int64, f *ScimFilter, from, limit int) (list []ScimUser, total int64, err error) {
	c := scimCompiler{kind: &scimUserSQL, args: []any{org}}
	where, err := c.where(f)
	if err != nil {
		return nil, 0, err
	}
	if err := s.queryRow(ctx, `SELECT count(*) FROM `+scimUsers+where, c.args...).Scan(&total); err != nil || limit == 0 {
		return nil, total, err
	}
	query := `SELECT ` + scimUserColumns + ` FROM ` + scimUsers + where + fmt.Sprintf(` ORDER BY u.user_id OFFSET %d LIMIT %d`, from, limit)
	rows, err := s.query(ctx, query, c.args...)
	list, err = scanAll(rows, err, func(rows *sql.Rows) (ScimUser, error) { return scanScimUser(rows.Scan) })
	return list, total, err
}

// ScimFilter chooses resources. Names in Path are those of the schema.
type ScimFilter struct {
	// Op is and, or, not (of Left); any (a value of Path satisfies Left); pr; or a comparison: eq, ne, co, sw, ew, gt, ge, lt, le.
	Op          string
	Left, Right *ScimFilter
	Path        []string
	// Multi says that the last name but one is that of an attribute with several values; Exact, that capitals count.
	Multi, Exact bool
	// What it is compared with: Flag if IsFlag, Time in ms if IsTime, else Text.
	Text         string
	Flag, IsFlag bool
	Time         int64
	IsTime       bool
}

// scimSQL is where the attributes of a kind of resource are found. Everything else is in JSON.
type scimSQL struct {
	texts, times, flags map[string]string
	json                string
	// relations are attributes with several values that have a table: the rows, and the column that value is.
	relations map[string][2]string
	// equal are conditions for an equality that an index can find, with one %s for the argument.
	equal map[string]string
}

const scimOwner = "urn:roomline:params:scim:schemas:extension:1.0:"

var scimUserSQL = scimSQL{
	texts: map[string]string{
		"id": "u.user_id", scimOwner + "User.matrixUserId": "u.user_id", "userName": "coalesce(s.user_name, " + scimUnmanagedName + ")", "externalId": "s.external_id",
		scimOwner + "User.localpart": "substr(u.user_id, 2, strpos(u.user_id, ':') - 2)",
		scimOwner + "User.domain":    "substr(u.user_id, strpos(u.user_id, ':') + 1)",
		"meta.resourceType":          "'User'",
	},
	times: map[string]string{"meta.created": "u.created_ts", "meta.lastModified": "coalesce(s.modified_ts, u.created_ts)"},
	flags: map[string]string{"active": "NOT u.locked"},
	json:  "coalesce(s.resource, scim_resource(u.user_id))",
	relations: map[string][2]string{
		"groups": {"scim_group_members r JOIN scim_groups USING (group_id) WHERE r.user_id = u.user_id", "r.group_id"},
	},
	equal: map[string]string{
		"id": "u.user_id = %s",
		"userName": `u.user_id IN (
			SELECT user_id FROM scim_users WHERE organisation_id = $1 AND user_name = lower(%[1]s)
			UNION ALL SELECT x.user_id FROM hosted_domains d
			CROSS JOIN LATERAL (SELECT '@' || split_part(lower(%[1]s), '@', 1) || ':' || d.server_name) AS x (user_id)
			WHERE d.organisation_id = $1 AND split_part(%[1]s, '@', 2) IN ('', d.server_name)
				AND NOT EXISTS (SELECT FROM scim_users t WHERE t.user_id = x.user_id))`,
		"externalId": "s.external_id = %s",
		"emails.value": `u.user_id IN (
			SELECT user_id FROM user_threepids WHERE organisation_id = $1 AND medium = 'email' AND address = lower(%s))`,
	},
}

// scimCompiler makes SQL of a filter. Texts of the client become arguments only.
type scimCompiler struct {
	kind *scimSQL
	args []any
}

func (c *scimCompiler) where(f *ScimFilter) (string, error) {
	if f == nil {
		return "", nil
	}
	condition, err := c.condition(f, "")
	return " AND " + condition, err
}

func (c *scimCompiler) arg(value any) string {
	c.args = append(c.args, value)
	cast := "text"
	switch value.(type) {
	case int64:
		cast = "bigint"
	case bool:
		cast = "boolean"
	}
	return fmt.Sprintf("$%d::%s", len(c.args), cast)
}

// condition is a filter as SQL. element is the JSON object that the last names of paths are looked up in, empty for the resource.
func (c *scimCompiler) condition(f *ScimFilter, element string) (string, error) {
	switch f.Op {
	case "and", "or":
		left, err := c.condition(f.Left, element)
		if err != nil {
			return "", err
		}
		right, err := c.condition(f.Right, element)
		return "(" + left + " " + strings.ToUpper(f.Op) + " " + right + ")", err
	case "not":
		inner, err := c.condition(f.Left, element)
		return "NOT (" + inner + ")", err
	case "any":
		return c.any(f)
	}
	return c.comparison(f, element)
}

// any is a condition about one value of an attribute with several.
func (c *scimCompiler) any(f *ScimFilter) (string, error) {
	name := strings.Join(f.Path, ".")
	if r, ok := c.kind.relations[name]; ok {
		inner, err := c.condition(f.Left, "jsonb_build_object('value', "+r[1]+")")
		return "EXISTS (SELECT FROM " + r[0] + " AND " + inner + ")", err
	}
	inner, err := c.condition(f.Left, "x.x")
	if err != nil {
		return "", err
	}
	condition := "EXISTS (SELECT FROM jsonb_array_elements(" + c.at(f.Path) + ") AS x (x) WHERE " + inner + ")"
	if equal := c.kind.equal[name+".value"]; equal != "" {
		if text, ok := wanted(f.Left); ok {
			condition = "(" + fmt.Sprintf(equal, c.arg(text)) + " AND " + condition + ")"
		}
	}
	return condition, nil
}

// wanted is what value has to be equal to for a filter to hold.
func wanted(f *ScimFilter) (string, bool) {
	switch {
	case f.Op == "and":
		if text, ok := wanted(f.Left); ok {
			return text, true
		}
		return wanted(f.Right)
	case f.Op == "eq" && f.Path[len(f.Path)-1] == "value":
		return f.Text, true
	}
	return "", false
}

// at is the JSON at the end of a path.
func (c *scimCompiler) at(path []string) string {
	c.args = append(c.args, pq.Array(path))
	return fmt.Sprintf("(%s #> $%d::text[])", c.kind.json, len(c.args))
}

func (c *scimCompiler) comparison(f *ScimFilter, element string) (string, error) {
	name := strings.Join(f.Path, ".")
	last := f.Path[len(f.Path)-1]
	if element != "" {
		return c.compare(f, element+" ->> "+c.arg(last)), nil
	}
	if equal := c.kind.equal[name]; equal != "" && f.Op == "eq" {
		return "(" + fmt.Sprintf(equal, c.arg(f.Text)) + ")", nil
	}
	for _, columns := range []map[string]string{c.kind.texts, c.kind.times, c.kind.flags} {
		if column := columns[name]; column != "" {
			return c.compare(f, column), nil
		}
	}
	if f.Multi {
		return c.any(&ScimFilter{Op: "any", Path: f.Path[:len(f.Path)-1], Left: &ScimFilter{
			Op: f.Op, Path: f.Path, Exact: f.Exact, Text: f.Text, Flag: f.Flag, IsFlag: f.IsFlag, Time: f.Time, IsTime: f.IsTime,
		}})
	}
	return c.compare(f, "("+c.at(f.Path)+" #>> '{}')"), nil
}

var scimOperators = map[string]string{"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}

// compare compares an expression with the value of a filter.
func (c *scimCompiler) compare(f *ScimFilter, expression string) string {
	if f.Op == "pr" {
		return "(" + expression + ") IS NOT NULL"
	}
	otherwise := "false"
	if f.Op == "ne" {
		otherwise = "true"
	}
	var condition string
	switch op := scimOperators[f.Op]; {
	case f.IsFlag:
		condition = "coalesce((" + expression + ")::boolean, false) " + op + " " + c.arg(f.Flag)
	case f.IsTime:
		condition = "(" + expression + ") " + op + " " + c.arg(f.Time)
	default:
		left, right := "("+expression+")", c.arg(f.Text)
		if !f.Exact {
			left, right = "lower("+left+")", "lower("+right+")"
		}
		switch f.Op {
		case "co":
			condition = "strpos(" + left + ", " + right + ") > 0"
		case "sw":
			condition = "starts_with(" + left + ", " + right + ")"
		case "ew":
			condition = "right(" + left + ", length(" + right + ")) = " + right
		default:
			condition = left + " " + op + " " + right
		}
	}
	return "coalesce(" + condition + ", " + otherwise + ")"
}
