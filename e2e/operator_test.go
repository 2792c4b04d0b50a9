package e2e

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// Operators write with `vault kv` as it pleases them, also in the middle of a
// refresh.
func TestOperatorsWriteDuringARefresh(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{store: "cache_ttl 1ms"})
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
				o := &operation{fleet: f.within(t), kv: f.vault.root.KVv2("secret"), moment: moment, tenant: tenantName(moment + " " + name)}
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
	*fleet
	kv     *api.KVv2
	moment string
	tenant string
	gate   *gate        // where the refresh waits
	served <-chan error // of the request that waits for it
}

// begin starts a refresh and returns when it is held back.
func (o *operation) begin() {
	o.Helper()
	o.seedExpired(o.tenant)
	switch o.moment {
	case atClaim:
		o.gate = o.holdWrite(o.tenant, "spending", false)
	case atEndpoint:
		o.gate = o.holdRefresh(o.tenant, beforeRotation)
	case atCommit:
		o.gate = o.holdWrite(o.tenant, "ready", false)
	}
	o.served = o.a.deliver(request{tenant: o.tenant, id: o.tenant, body: randomBytes(kib)})
	o.check(o.gate.await(o.ctx))
}

func (o *operation) path() string { return "upstream-auth/api/" + o.tenant }

// data reads the tenant's document.
func (o *operation) data() map[string]any {
	o.Helper()
	secret, err := o.kv.Get(o.ctx, o.path())
	o.check(err)
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
	_, err := o.vault.root.Logical().WriteWithContext(o.ctx, pathOf(o.tenant), map[string]any{"data": data})
	o.check(err)
}

// reauthorized is a document with new tokens from a login.
func (o *operation) reauthorized() document {
	o.Helper()
	tokens, err := o.auth.Seed(o.tenant)
	o.check(err)
	return documentOf(o.tenant, tokens)
}

// everywhere checks that all replicas serve the tenant, also after another refresh.
func (o *operation) everywhere() {
	o.Helper()
	for range 2 {
		for _, w := range o.replicas() {
			r := request{tenant: o.tenant, id: fmt.Sprint(o.tenant, " everywhere ", time.Now()), body: randomBytes(kib)}
			w.check(w.delivered(r, w.must(r)))
		}
		o.check(o.auth.Expire(o.tenant))
	}
	o.settledAfter()
}

// settledAfter refreshes what was expired, and checks the end.
func (o *operation) settledAfter() {
	o.Helper()
	o.b.recoversWithin(5*time.Second, o.tenant)
	o.settled(o.tenant)
	o.check(o.hasStatus(o.tenant, "ready"))
}

// An operator's refresh token wins over the one that the refresh brings.
func otherTokens(o *operation) {
	theirs := o.reauthorized()
	o.put(theirs)
	o.gate.open()
	o.check(<-o.served)
	o.remains(500*time.Millisecond, func() error { return o.holds(theirs) })
	if o.moment == atClaim {
		o.asked(o.tenant) // there was nothing to spend any more
	} else {
		o.asked(o.tenant, authserver.Rotated)
	}
	o.everywhere()
}

func (o *operation) holds(want document) error {
	held, err := o.stored(o.tenant)
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
	first, err := o.kv.GetVersion(o.ctx, o.path(), 1)
	o.check(err)
	o.put(first.Data)
	o.othersWait()
}

// othersWait checks that the other replicas present nothing until the refresh is
// through.
func (o *operation) othersWait() {
	o.Helper()
	waiting := []<-chan error{o.served}
	for _, w := range []*world{o.b, o.c} {
		r := request{tenant: o.tenant, id: fmt.Sprint(o.tenant, " waits ", time.Now()), body: randomBytes(kib)}
		waiting = append(waiting, w.deliver(r))
	}
	o.remains(time.Second, func() error {
		if got := len(o.auth.Of(o.tenant)); got != 1 {
			return fmt.Errorf("%d token requests", got)
		}
		return nil
	})
	o.gate.open()
	for _, served := range waiting {
		o.check(<-served)
	}
	o.asked(o.tenant, authserver.Rotated)
	o.settled(o.tenant)
	o.everywhere()
}

// What an operator changed beside the tokens stays.
func patchedField(o *operation) {
	_, err := o.kv.Patch(o.ctx, o.path(), map[string]any{"note": "patched"})
	o.check(err)
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
	o.gate.open()
	o.check(<-o.served)
	o.settled(o.tenant)
	o.asked(o.tenant, authserver.Rotated)
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
	secret, err := o.kv.Get(o.ctx, o.path())
	o.check(err)
	o.check(o.kv.Delete(o.ctx, o.path()))
	o.gate.open()
	<-o.served // with the new token or without one
	o.staysDeleted()
	o.check(o.kv.Undelete(o.ctx, o.path(), []int{secret.VersionMetadata.Version}))
	for _, w := range o.replicas() {
		w.recoversWithin(10*time.Second, o.tenant)
	}
	o.settled(o.tenant)
	o.asked(o.tenant, authserver.Rotated)
	o.everywhere()
}

// staysDeleted checks that nobody is served, and that nothing is written.
func (o *operation) staysDeleted() {
	o.Helper()
	o.soon(5*time.Second, func() error {
		if entries := o.auth.Of(o.tenant); entries[0].Outcome != authserver.Rotated {
			return errors.New("not rotated yet")
		}
		return nil
	})
	for _, w := range o.replicas() {
		w.soon(5*time.Second, func() error {
			res := w.must(request{tenant: o.tenant, id: fmt.Sprint(o.tenant, " deleted ", time.Now())})
			if code := res.Header.Get("Upstream-Auth-Error"); res.StatusCode != 403 || code != "tenant_unknown" {
				return fmt.Errorf("a deleted tenant: status %d, code %q", res.StatusCode, code)
			}
			return nil
		})
	}
	o.remains(time.Second, func() error {
		secret, err := o.vault.root.Logical().ReadWithContext(o.ctx, pathOf(o.tenant))
		if err == nil && secret != nil && secret.Data["data"] != nil {
			err = errors.New("the deleted tenant is back")
		}
		return err
	})
}

// Other tokens for a tenant that was deleted meanwhile are no business of the
// refresh that was under way.
func deletedAndPutAnew(o *operation) {
	o.check(o.kv.Delete(o.ctx, o.path()))
	theirs := o.reauthorized()
	o.put(theirs)
	o.theirsAtOnce(theirs)
}

func metadataDeletedAndPutAnew(o *operation) {
	o.check(o.kv.DeleteMetadata(o.ctx, o.path()))
	theirs := o.reauthorized()
	o.put(theirs) // version 1 once more
	o.theirsAtOnce(theirs)
}

// theirsAtOnce checks that new tokens are used, and refreshed, before and after the
// end of the refresh that was under way.
func (o *operation) theirsAtOnce(theirs document) {
	o.Helper()
	r := request{tenant: o.tenant, id: o.tenant + " at once", body: randomBytes(kib)}
	o.check(o.b.delivered(r, o.b.must(r)))
	o.check(o.holds(theirs))
	o.check(o.auth.Expire(o.tenant))
	r.id += ", refreshed"
	o.check(o.b.delivered(r, o.b.must(r)))
	o.asked(o.tenant, authserver.Pending, authserver.Rotated)
	o.check(o.newestStored(o.tenant))
	o.gate.open()
	o.check(<-o.served)
	o.remains(500*time.Millisecond, func() error { return o.newestStored(o.tenant) })
	o.asked(o.tenant, authserver.Rotated, authserver.Rotated)
	o.everywhere()
}

func metadataDeleted(o *operation) {
	o.check(o.kv.DeleteMetadata(o.ctx, o.path()))
	o.gate.open()
	<-o.served
	o.staysDeleted()
	theirs := o.reauthorized()
	o.put(theirs)
	for _, w := range o.replicas() {
		w.recoversWithin(5*time.Second, o.tenant) // who is not there is remembered for 2 s
	}
	o.check(o.holds(theirs))
	o.check(o.auth.Expire(o.tenant))
	o.everywhere()
}

// An operator's word against refreshes outlives the one that is under way, and
// holds until it is taken back.
func disabledForNow(o *operation) {
	_, err := o.kv.Patch(o.ctx, o.path(), map[string]any{"_upstream_auth": map[string]any{"disabled": "true"}})
	o.check(err)
	o.gate.open()
	o.check(<-o.served)
	o.settled(o.tenant)
	o.check(o.auth.Expire(o.tenant))
	for _, w := range o.replicas() {
		res := w.expect(request{tenant: o.tenant, id: o.tenant + " disabled"}, 401)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" {
			o.Errorf("code %q", code)
		}
	}
	o.asked(o.tenant, authserver.Rotated)
	_, err = o.kv.Patch(o.ctx, o.path(), map[string]any{"_upstream_auth": map[string]any{"disabled": nil}})
	o.check(err)
	for _, w := range o.replicas() {
		w.recoversWithin(5*time.Second, o.tenant)
	}
	o.asked(o.tenant, authserver.Rotated, authserver.Rotated)
	o.everywhere()
}
