package hstest

import (
	"net/http"
	"sync/atomic"
	"testing"
)

// operatorName is the account that acts as the operator for the test.
const operatorName = "hstest-operator"

// Operator is the deployment's operator: an owner of the operator's own organisation. All calls return the same account.
func (d *Deployment) Operator(t testing.TB) *User {
	t.Helper()
	d.operatorOnce.Do(func() { d.operator = d.Admin(t, operatorName) })
	return d.operator
}

// Organisation is one of a deployment's organisations.
type Organisation struct {
	ID     int64
	Domain string
	// Owner is its first owner.
	Owner *User

	dep *Deployment
}

// Organisation makes another organisation with a domain, and signs its owner, owner@domain, in.
func (d *Deployment) Organisation(t testing.TB, name, domain string) *Organisation {
	t.Helper()
	owner := &User{Password: "correct horse owner", dep: d, txn: new(atomic.Int64)}
	d.Secret(owner.Password, "a password")
	made := d.Operator(t).MustDo(t, http.MethodPost, "/_roomline/operator/v1/organisations", map[string]any{
		"name": name, "domain": domain, "owner": map[string]any{"localpart": "owner", "password": owner.Password},
	})
	owner.ID = made.Get("owner.user_id").String()
	return &Organisation{ID: made.Get("organisation_id").Int(), Domain: domain, Owner: owner.NewSession(t), dep: d}
}

// User makes an account of the organisation and signs it in.
func (o *Organisation) User(t testing.TB, localpart string) *User {
	t.Helper()
	return o.dep.register(t, "@"+localpart+":"+o.Domain, localpart, false)
}

// Admin makes another owner of the organisation and signs it in.
func (o *Organisation) Admin(t testing.TB, localpart string) *User {
	t.Helper()
	return o.dep.register(t, "@"+localpart+":"+o.Domain, localpart, true)
}
