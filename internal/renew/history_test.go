package renew_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// deleteNow and destroyNow are steps of a history, of its newest version; the others are
// documents to write.
const (
	deleteNow  = ""
	destroyNow = "destroy"
)

// with has refresh token canary-r1 or another, and a record unless that is nil.
func with(token string, r says) string {
	document := fmt.Sprintf(`{"access_token":"canary-a1","refresh_token":%q}`, token)
	if r == nil {
		return document
	}
	return withRecord([]byte(document), r)
}

// play writes a history, a second a step.
func (f *fleet) play(steps ...string) *credential.Credential {
	f.t.Helper()
	for _, step := range steps {
		time.Sleep(time.Second)
		switch step {
		case deleteNow:
			f.delete()
		case destroyNow:
			f.store.Destroy(key, f.stored().Version())
		default:
			f.put(step)
		}
	}
	return f.stored()
}

// outcome is what becomes of a refresh with some history.
type outcome string

const (
	spent    outcome = "spent"
	waited   outcome = "waited for somebody"
	declined outcome = "declined, as it was refused"
)

type older = map[uint64]func(credential.Document, error) (credential.Document, error)

func forgotten(credential.Document, error) (credential.Document, error) {
	return credential.Document{}, credential.ErrNotFound
}

func garbage(doc credential.Document, _ error) (credential.Document, error) {
	doc.Data = []byte(`not JSON`)
	return doc, nil
}

// deletedWithoutTimes is what a store says that does not tell when.
func deletedWithoutTimes(doc credential.Document, _ error) (credential.Document, error) {
	return credential.Document{Version: doc.Version}, credential.ErrNotFound
}

// What is known of a refresh token is what the nearest version says that speaks of it.
func TestHistoryOfARefreshToken(t *testing.T) {
	claim, ready, refused := says{"status": "spending", "fingerprint": fingerprint("canary-r1"), "nonce": "n1", "owner": "o1"}, readyFor("canary-r1"), refusedFor("canary-r1")
	foreign := says{"status": "spending", "fingerprint": fingerprint("canary-r2"), "nonce": "n2"}
	r1, r2 := func(r says) string { return with("canary-r1", r) }, func(r says) string { return with("canary-r2", r) }
	half := maps.Clone(claim)
	half["fingerprint"] = half["fingerprint"][:16]

	for name, test := range map[string]struct {
		steps     []string
		older     older
		exclusive bool
		want      outcome
	}{
		"no record":                  {steps: []string{r1(nil)}, want: spent},
		"its own, claimed":           {steps: []string{r1(claim)}, want: waited},
		"its own, refused":           {steps: []string{r1(refused)}, want: declined},
		"its own beside an older":    {steps: []string{r1(claim), r1(ready)}, want: spent},
		"a record of another token":  {steps: []string{r1(foreign)}, want: spent},
		"without a fingerprint":      {steps: []string{r1(says{"status": "spending", "nonce": "n"})}, want: spent},
		"with half a fingerprint":    {steps: []string{r1(half)}, want: spent},
		"a record of another type":   {steps: []string{`{"access_token":"canary-a1","refresh_token":"canary-r1","_upstream_auth":[17]}`}, want: spent},
		"a status of another type":   {steps: []string{`{"access_token":"canary-a1","refresh_token":"canary-r1","_upstream_auth":{"nonce":17}}`}, want: spent},
		"written anew over a claim":  {steps: []string{r1(claim), r1(nil)}, want: waited},
		"written anew, many times":   {steps: []string{r1(claim), r1(nil), r1(nil), r1(nil)}, want: waited},
		"written anew over refusal":  {steps: []string{r1(refused), r1(nil)}, want: declined},
		"anew with another's record": {steps: []string{r1(claim), r1(foreign)}, want: waited},
		"gone back to an older":      {steps: []string{r1(claim), r2(foreign), r1(nil)}, want: waited},
		"back past one with none":    {steps: []string{r1(claim), `{"a":1}`, r1(nil)}, want: waited},
		"the nearest counts":         {steps: []string{r1(claim), r1(ready), r1(nil)}, want: spent},
		"the nearest that speaks":    {steps: []string{r1(ready), r1(claim), r2(foreign), with("canary-r3", nil), r1(nil)}, want: waited},
		"only other tokens":          {steps: []string{r2(foreign), with("canary-r3", nil), r1(nil)}, want: spent},
		"a record of a later token":  {steps: []string{r2(claim), r1(nil)}, want: waited},

		"deleted, over the same token":    {steps: []string{r1(nil), r1(claim), deleteNow, r1(nil)}, want: waited},
		"destroyed, over the same token":  {steps: []string{r1(nil), r1(claim), destroyNow, r1(nil)}, want: waited},
		"deleted, over another token":     {steps: []string{r2(nil), r1(claim), deleteNow, r1(nil)}, want: spent},
		"destroyed, over another token":   {steps: []string{r2(nil), r2(foreign), destroyNow, r1(nil)}, want: spent},
		"all destroyed":                   {steps: []string{r2(nil), destroyNow, r2(nil), destroyNow, r1(nil)}, want: spent},
		"deleted, over no token":          {steps: []string{`{"a":1}`, r1(claim), deleteNow, r1(nil)}, want: spent},
		"deleted, over another, over one": {steps: []string{r1(claim), r2(nil), r2(nil), deleteNow, r1(nil)}, want: waited},
		"deleted, over a claim":           {steps: []string{r1(claim), r1(nil), deleteNow, r1(nil)}, want: waited},
		"deleted, over a refusal":         {steps: []string{r1(refused), r1(nil), deleteNow, r1(nil)}, want: declined},
		"deleted, what came then speaks":  {steps: []string{r1(nil), r1(claim), deleteNow, r1(ready)}, want: spent},
		"deleted, a nearer one speaks":    {steps: []string{r1(nil), r1(claim), deleteNow, r1(ready), r1(nil)}, want: spent},
		"the first deleted, put anew":     {steps: []string{r1(nil), deleteNow, r1(nil)}, want: spent},
		"deleted and put, twice":          {steps: []string{r1(nil), deleteNow, r1(nil), deleteNow, r1(nil)}, want: spent},
		"deleted after a deleted one":     {steps: []string{r1(nil), r1(claim), deleteNow, r1(nil), deleteNow, r1(nil)}, want: waited},
		"garbage on the way":              {steps: []string{r1(claim), r1(nil), r1(nil)}, older: older{4: garbage}, want: waited},
		"deleted, over garbage":           {steps: []string{r1(nil), r1(claim), deleteNow, r1(nil)}, older: older{3: garbage}, want: spent},
		"it ends at a readable one":       {steps: []string{r1(claim), r2(nil), r1(nil)}, older: older{3: forgotten}, want: spent},
		"exclusive: deleted":              {steps: []string{r1(nil), r1(claim), deleteNow, r1(nil)}, exclusive: true, want: spent},
		"deleted and put, no times": {
			steps: []string{r1(nil), deleteNow, r1(nil), deleteNow, r1(nil)}, older: older{3: deletedWithoutTimes, 4: deletedWithoutTimes}, want: spent,
		},
		"deleted over one with it, no times": {
			steps: []string{r1(nil), r1(nil), deleteNow, r1(nil)}, older: older{4: deletedWithoutTimes}, want: waited,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.store.Destroy(key, 1)
				f.put(`{"access_token":"canary-other","refresh_token":"canary-r9"}`) // the steps begin with version 3
				p := f.start(func(o *renew.Options) { o.Exclusive = test.exclusive })
				p.link.older = test.older
				rejected := f.play(test.steps...)
				start := time.Now()
				fresh, err := p.refresh(rejected)
				got := spent
				switch {
				case err == nil:
					wantToken(t, fresh, err, "canary-a2")
				case time.Since(start) == 0:
					wantError(t, fresh, err, renew.ErrReauthorizationRequired)
					got = declined
				default:
					wantError(t, fresh, err, renew.ErrFailed)
					got = waited
				}
				if got != test.want {
					t.Errorf("it is %s, want %s", got, test.want)
				}
			})
		})
	}
}

// What a process did itself it knows, whatever is left of it in the store.
func TestOwnSilentClaimIsRememberedThoughItsVersionIsGone(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(never))
		p := f.start(nil)
		f.answers(always(500, ""))
		_, err := p.refresh(f.stored())
		wantError(t, nil, err, renew.ErrFailed)
		f.answers(rotate)
		f.store.Destroy(key, 1, 2)
		_, err = p.refresh(f.put(with("canary-r1", nil)))
		wantError(t, nil, err, renew.ErrReauthorizationRequired)
		f.wantAsked(1)
	})
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(slowly(5 * time.Minute))
		_, err := p.refresh(f.stored())
		wantError(t, nil, err, renew.ErrFailed)
		time.Sleep(time.Second)
		f.store.Destroy(key, 1, 2)
		_, err = p.refresh(f.put(with("canary-r1", nil))) // its answer is listened for
		wantError(t, nil, err, renew.ErrFailed)
		f.wantAsked(1)
	})
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(always(500, ""))
		_, err := p.refresh(f.stored())
		wantError(t, nil, err, renew.ErrFailed)
		f.answers(rotate)
		rejected := f.put(with("canary-r1", nil))
		p.link.older = older{2: deletedWithoutTimes} // perhaps it is this one's claim
		_, err = p.refresh(rejected)
		wantError(t, nil, err, renew.ErrFailed)
		p.settled()
		p.link.older = nil // undeleted: it is
		fresh, err := p.refreshUntil(rejected, 20*time.Second)
		wantToken(t, fresh, err, "canary-a2")
	})
}

// What was put when the version before was deleted already is no claim: the one that may
// have been is older, and is taken over sooner.
func TestClaimThatNobodyCanReadIsAsOldAsItsVersion(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(time.Minute))
		p := f.start(nil)
		f.play(with("canary-r1", nil), deleteNow, with("canary-r1", nil))
		time.Sleep(10 * time.Minute)
		f.play(deleteNow, with("canary-r1", nil), deleteNow, with("canary-r1", nil))
		fresh, err := p.refreshUntil(f.stored(), 30*time.Second)
		wantToken(t, fresh, err, "canary-a2")
		p.wantEvents(renew.TakenOver, 1)
	})
}

func TestHistoryIsLookedAtSoFarAndNoFarther(t *testing.T) {
	for since, want := range map[int]int64{20: 0, 21: 1} {
		inFleet(t, func(t *testing.T, f *fleet) {
			p := f.start(nil)
			f.putRecord(claimOf("theirs"))
			for range since {
				f.put(with("canary-r1", nil))
			}
			p.refresh(f.stored())
			f.wantAsked(want)
		})
	}
}

func TestHistoryIsNotGuessedWhenTheStoreFails(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		p.link.older = older{1: func(credential.Document, error) (credential.Document, error) {
			return credential.Document{}, credential.ErrUnavailable
		}}
		fresh, err := p.refresh(f.put(with("canary-r1", nil)))
		wantError(t, fresh, err, renew.ErrFailed)
		wantError(t, fresh, err, credential.ErrUnavailable)
		f.wantAsked(0)
		p.wantEvents(renew.StoreFailed, 1)
	})
}

// A version is gone that came after the token was refused and put anew: it was no claim.
func TestRefusedTokenIsNotClaimedByAVersionThatIsGone(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(always(400, `{"error":"invalid_grant"}`))
		_, err := f.start(nil).refresh(f.stored())
		wantError(t, nil, err, renew.ErrReauthorizationRequired)
		const document = `{"access_token":"canary-a1","refresh_token":"canary-r1"}`
		f.put(document)
		f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"theirs"}`)
		f.delete()
		rejected := f.put(document)
		start := time.Now()
		_, err = f.start(nil).refresh(rejected)
		wantError(t, nil, err, renew.ErrReauthorizationRequired)
		wantTook(t, start, 0)
		f.wantAsked(1)
	})
}
