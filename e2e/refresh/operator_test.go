package refresh

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Operators write with `vault kv` as it pleases them, also in the middle of a
// refresh.
func TestOperatorsWriteDuringARefresh(t *testing.T) {
	t.Parallel()
	f := world.NewFleet(t, world.Configuration{Store: "cache_ttl 1ms"})
	for moment, tests := range map[string]map[string]func(*operation){
		atClaim: {
			"other tokens":              otherTokens,
			"a patch of a field":        patchedField,
			"a field in a new document": changedField,
		},
		atEndpoint: {
			"other tokens":               otherTokens,
			"the same without our key":   sameWithoutKey,
			"an older version once more": olderVersion,
			"a patch of a field":         patchedField,
			"a field in a new document":  changedField,
			"deleted and undeleted":      deletedAndUndeleted,
			"deleted and put anew":       deletedAndPutAnew,
			"metadata deleted":           metadataDeleted,
			"metadata deleted, put anew": metadataDeletedAndPutAnew,
			"refreshes disabled for now": disabledForNow,
		},
		atCommit: {
			"other tokens":               otherTokens,
			"the same without our key":   sameWithoutKey,
			"a patch of a field":         patchedField,
			"a field in a new document":  changedField,
			"refreshes disabled for now": disabledForNow,
		},
	} {
		for name, test := range tests {
			t.Run(moment+" "+name, func(t *testing.T) {
				o := &operation{Fleet: f.Within(t), kv: f.Vault.Root.KVv2("secret"), moment: moment, tenant: world.TenantName(moment + " " + name)}
				o.begin()
				test(o)
			})
		}
	}
}

// The moments of a refresh at which it is held back.
const (
	atClaim    = "at the claim"    // which is on its way to Vault
	atEndpoint = "at the endpoint" // which is asked already
	atCommit   = "at the commit"   // which is on its way to Vault
)

// operation is what operators do to one tenant while a refresh of its token is
// held back.
type operation struct {
	*world.Fleet
	kv     *api.KVv2
	moment string
	tenant string
	gate   *world.Gate  // where the refresh waits
	served <-chan error // of the request that waits for it
}

// begin starts a refresh and returns when it is held back.
func (o *operation) begin() {
	o.Helper()
	o.SeedExpired(o.tenant)
	switch o.moment {
	case atClaim:
		o.gate = holdWrite(o.World, o.tenant, "spending", false)
	case atEndpoint:
		o.gate = o.HoldRefresh(o.tenant, world.BeforeRotation)
	case atCommit:
		o.gate = holdWrite(o.World, o.tenant, "ready", false)
	}
	o.served = o.A.Deliver(world.Request{Tenant: o.tenant, ID: o.tenant, Body: world.RandomBytes(world.KiB)})
	o.Check(o.gate.Await(o.Ctx))
}

func (o *operation) path() string { return "upstream-auth/api/" + o.tenant }

// data reads the tenant's document.
func (o *operation) data() map[string]any {
	o.Helper()
	secret, err := o.kv.Get(o.Ctx, o.path())
	o.Check(err)
	return secret.Data
}

// withoutKey is the document as somebody has it who knows nothing of our key.
func (o *operation) withoutKey() map[string]any {
	data := maps.Clone(o.data())
	delete(data, "_upstream_auth")
	return data
}

func (o *operation) put(data any) {
	o.Helper()
	_, err := o.Vault.Root.Logical().WriteWithContext(o.Ctx, world.PathOf(o.tenant), map[string]any{"data": data})
	o.Check(err)
}

// reauthorized is a document with new tokens from a login.
func (o *operation) reauthorized() world.Document {
	o.Helper()
	tokens, err := o.Auth.Seed(o.tenant)
	o.Check(err)
	return world.DocumentOf(o.tenant, tokens)
}

// everywhere checks that all replicas serve the tenant, also after another refresh.
func (o *operation) everywhere() {
	o.Helper()
	for range 2 {
		for _, w := range o.Replicas() {
			r := world.Request{Tenant: o.tenant, ID: fmt.Sprint(o.tenant, " everywhere ", time.Now()), Body: world.RandomBytes(world.KiB)}
			w.Check(w.Delivered(r, w.Must(r)))
		}
		o.Check(o.Auth.Expire(o.tenant))
	}
	o.settledAfter()
}

// settledAfter refreshes what was expired, and checks the end.
func (o *operation) settledAfter() {
	o.Helper()
	o.B.RecoversWithin(5*time.Second, o.tenant)
	o.Settled(o.tenant)
	o.Check(o.HasStatus(o.tenant, "ready"))
}

// An operator's refresh token wins over the one that the refresh brings.
func otherTokens(o *operation) {
	theirs := o.reauthorized()
	o.put(theirs)
	o.gate.Open()
	o.Check(<-o.served)
	remains(o.World, 500*time.Millisecond, func() error { return o.holds(theirs) })
	if o.moment == atClaim {
		o.Asked(o.tenant) // there was nothing to spend any more
	} else {
		o.Asked(o.tenant, authserver.Rotated)
	}
	o.everywhere()
}

func (o *operation) holds(want world.Document) error {
	held, err := o.Stored(o.tenant)
	if err == nil && held != want {
		err = errors.New("the operator's document is not in Vault any more")
	}
	return err
}

// The same document without the claim in it does not hide the claim.
func sameWithoutKey(o *operation) {
	o.put(o.withoutKey())
	o.othersWait()
}

// Nor does an older version that is written again, as `vault kv rollback` does.
func olderVersion(o *operation) {
	first, err := o.kv.GetVersion(o.Ctx, o.path(), 1)
	o.Check(err)
	o.put(first.Data)
	o.othersWait()
}

// othersWait checks that the other replicas present nothing until the refresh is
// through.
func (o *operation) othersWait() {
	o.Helper()
	waiting := []<-chan error{o.served}
	for _, w := range []*world.World{o.B, o.C} {
		r := world.Request{Tenant: o.tenant, ID: fmt.Sprint(o.tenant, " waits ", time.Now()), Body: world.RandomBytes(world.KiB)}
		waiting = append(waiting, w.Deliver(r))
	}
	remains(o.World, time.Second, func() error {
		if got := len(o.Auth.Of(o.tenant)); got != 1 {
			return fmt.Errorf("%d token requests", got)
		}
		return nil
	})
	o.gate.Open()
	for _, served := range waiting {
		o.Check(<-served)
	}
	o.Asked(o.tenant, authserver.Rotated)
	o.Settled(o.tenant)
	o.everywhere()
}

// What an operator changed beside the tokens stays.
func patchedField(o *operation) {
	_, err := o.kv.Patch(o.Ctx, o.path(), map[string]any{"note": "patched"})
	o.Check(err)
	o.noteStays("patched")
}

func changedField(o *operation) {
	data := o.withoutKey()
	data["note"] = "put"
	o.put(data)
	o.noteStays("put")
}

func (o *operation) noteStays(note string) {
	o.Helper()
	o.gate.Open()
	o.Check(<-o.served)
	o.Settled(o.tenant)
	o.Asked(o.tenant, authserver.Rotated)
	if got := o.data()["note"]; got != note {
		o.Errorf("the field is %v, not %s", got, note)
	}
	o.everywhere()
	if got := o.data()["note"]; got != note {
		o.Errorf("after another refresh the field is %v, not %s", got, note)
	}
}

// A tenant that was deleted stays so. When it comes back as it was, it gets what
// the refresh brought.
func deletedAndUndeleted(o *operation) {
	secret, err := o.kv.Get(o.Ctx, o.path())
	o.Check(err)
	o.Check(o.kv.Delete(o.Ctx, o.path()))
	o.gate.Open()
	<-o.served // with the new token or without one
	o.staysDeleted()
	o.Check(o.kv.Undelete(o.Ctx, o.path(), []int{secret.VersionMetadata.Version}))
	for _, w := range o.Replicas() {
		w.RecoversWithin(10*time.Second, o.tenant)
	}
	o.Settled(o.tenant)
	o.Asked(o.tenant, authserver.Rotated)
	o.everywhere()
}

// staysDeleted checks that nobody is served, and that nothing is written.
func (o *operation) staysDeleted() {
	o.Helper()
	o.Soon(5*time.Second, func() error {
		if entries := o.Auth.Of(o.tenant); entries[0].Outcome != authserver.Rotated {
			return errors.New("not rotated yet")
		}
		return nil
	})
	for _, w := range o.Replicas() {
		w.Soon(5*time.Second, func() error {
			res := w.Must(world.Request{Tenant: o.tenant, ID: fmt.Sprint(o.tenant, " deleted ", time.Now())})
			if code := res.Header.Get("Upstream-Auth-Error"); res.StatusCode != 403 || code != "tenant_unknown" {
				return fmt.Errorf("a deleted tenant: status %d, code %q", res.StatusCode, code)
			}
			return nil
		})
	}
	remains(o.World, time.Second, func() error {
		secret, err := o.Vault.Root.Logical().ReadWithContext(o.Ctx, world.PathOf(o.tenant))
		if err == nil && secret != nil && secret.Data["data"] != nil {
			err = errors.New("the deleted tenant is back")
		}
		return err
	})
}

// Other tokens for a tenant that was deleted meanwhile are no business of the
// refresh that was under way.
func deletedAndPutAnew(o *operation) {
	o.Check(o.kv.Delete(o.Ctx, o.path()))
	theirs := o.reauthorized()
	o.put(theirs)
	o.theirsAtOnce(theirs)
}

func metadataDeletedAndPutAnew(o *operation) {
	o.Check(o.kv.DeleteMetadata(o.Ctx, o.path()))
	theirs := o.reauthorized()
	o.put(theirs) // version 1 once more
	o.theirsAtOnce(theirs)
}

// theirsAtOnce checks that new tokens are used, and refreshed, before and after the
// end of the refresh that was under way.
func (o *operation) theirsAtOnce(theirs world.Document) {
	o.Helper()
	r := world.Request{Tenant: o.tenant, ID: o.tenant + " at once", Body: world.RandomBytes(world.KiB)}
	o.Check(o.B.Delivered(r, o.B.Must(r)))
	o.Check(o.holds(theirs))
	o.Check(o.Auth.Expire(o.tenant))
	r.ID += ", refreshed"
	o.Check(o.B.Delivered(r, o.B.Must(r)))
	o.Asked(o.tenant, authserver.Pending, authserver.Rotated)
	o.Check(o.NewestStored(o.tenant))
	o.gate.Open()
	o.Check(<-o.served)
	remains(o.World, 500*time.Millisecond, func() error { return o.NewestStored(o.tenant) })
	o.Asked(o.tenant, authserver.Rotated, authserver.Rotated)
	o.everywhere()
}

func metadataDeleted(o *operation) {
	o.Check(o.kv.DeleteMetadata(o.Ctx, o.path()))
	o.gate.Open()
	<-o.served
	o.staysDeleted()
	theirs := o.reauthorized()
	o.put(theirs)
	for _, w := range o.Replicas() {
		w.RecoversWithin(5*time.Second, o.tenant) // who is not there is remembered for 2 s
	}
	o.Check(o.holds(theirs))
	o.Check(o.Auth.Expire(o.tenant))
	o.everywhere()
}

// An operator's word against refreshes outlives the one that is under way, and
// holds until it is taken back.
func disabledForNow(o *operation) {
	_, err := o.kv.Patch(o.Ctx, o.path(), map[string]any{"_upstream_auth": map[string]any{"disabled": "true"}})
	o.Check(err)
	o.gate.Open()
	o.Check(<-o.served)
	o.Settled(o.tenant)
	o.Check(o.Auth.Expire(o.tenant))
	for _, w := range o.Replicas() {
		res := w.Expect(world.Request{Tenant: o.tenant, ID: o.tenant + " disabled"}, 401)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" {
			o.Errorf("code %q", code)
		}
	}
	o.Asked(o.tenant, authserver.Rotated)
	_, err = o.kv.Patch(o.Ctx, o.path(), map[string]any{"_upstream_auth": map[string]any{"disabled": nil}})
	o.Check(err)
	for _, w := range o.Replicas() {
		w.RecoversWithin(5*time.Second, o.tenant)
	}
	o.Asked(o.tenant, authserver.Rotated, authserver.Rotated)
	o.everywhere()
}
