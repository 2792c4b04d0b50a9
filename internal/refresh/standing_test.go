package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// history is a store whose older versions can be told to be otherwise.
type history struct {
	*storetest.Memory
	older map[uint64]func(credential.Document, error) (credential.Document, error)
}

func (h *history) GetVersion(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	doc, err := h.Memory.GetVersion(ctx, key, version)
	if change := h.older[version]; change != nil {
		return change(doc, err)
	}
	return doc, err
}

func forgotten(credential.Document, error) (credential.Document, error) {
	return credential.Document{}, credential.ErrNotFound
}

// deletedAt says that a version was deleted then, whatever came after it.
func deletedAt(at time.Time) func(credential.Document, error) (credential.Document, error) {
	return func(doc credential.Document, _ error) (credential.Document, error) {
		return credential.Document{Version: doc.Version, WrittenAt: doc.WrittenAt, DeletedAt: at}, credential.ErrNotFound
	}
}

// deletedWithoutTimes is what a store says that does not tell when.
func deletedWithoutTimes(doc credential.Document, _ error) (credential.Document, error) {
	return credential.Document{Version: doc.Version}, credential.ErrNotFound
}

func garbage(doc credential.Document, _ error) (credential.Document, error) {
	doc.Data = []byte(`not JSON`)
	return doc, nil
}

// deleteNow is a step of a history; the others are documents to write.
const deleteNow = ""

// past makes a store with these versions, a second apart.
func past(t *testing.T, steps ...string) *history {
	t.Helper()
	h := &history{Memory: storetest.NewMemory(), older: make(map[uint64]func(credential.Document, error) (credential.Document, error))}
	var number uint64
	for _, step := range steps {
		time.Sleep(time.Second)
		var err error
		if step == deleteNow {
			err = h.Delete(context.Background(), key)
		} else {
			number, err = h.Put(context.Background(), key, []byte(step), number)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	return h
}

// document has a refresh token, and a record unless that says nothing.
func document(refreshToken string, r record) string {
	if r == (record{}) {
		return fmt.Sprintf(`{"refresh_token":%q}`, refreshToken)
	}
	raw, _ := json.Marshal(r)
	return fmt.Sprintf(`{"refresh_token":%q,%q:%s}`, refreshToken, credential.ReservedField, raw)
}

func oauth2Of(t testing.TB) *scheme.OAuth2 {
	t.Helper()
	s, err := scheme.New(scheme.Options{OAuth2: &scheme.OAuth2{
		TokenURL: "https://as.example", ClientID: text(t, "x"), ClientAuth: scheme.ClientAuthNone,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s.OAuth2()
}

func over(store credential.Store, o Options) *Coordinator {
	return New(credential.NewCache(store, credential.CacheOptions{}), o)
}

func TestStanding(t *testing.T) {
	print := fingerprint("r1")
	claim := record{Status: statusSpending, Fingerprint: print, Nonce: "n1", Owner: "o1"}
	ready := record{Status: statusReady, Fingerprint: print}
	refused := record{Status: statusReauthorize, Fingerprint: print}
	other := record{Status: statusSpending, Fingerprint: fingerprint("r2"), Nonce: "n2"}
	none := record{}
	nobody := func(number int) record {
		return record{Status: statusSpending, Nonce: fmt.Sprintf("unreadable-%d", number)}
	}
	with := func(r record, change func(*record)) record { change(&r); return r }
	byField := func(r *record) { r.Disabled = "true" }
	byStatus := func(r *record) { r.Status = statusDisabled }

	type change = map[uint64]func(credential.Document, error) (credential.Document, error)
	for name, test := range map[string]struct {
		steps     []string
		older     change
		exclusive bool
		want      record
	}{
		"no record":                  {steps: []string{document("r1", none)}, want: none},
		"its own":                    {steps: []string{document("r1", claim)}, want: claim},
		"its own, refused":           {steps: []string{document("r1", refused)}, want: refused},
		"its own beside an older":    {steps: []string{document("r1", claim), document("r1", ready)}, want: ready},
		"a record of another token":  {steps: []string{document("r1", other)}, want: none},
		"without a fingerprint":      {steps: []string{document("r1", record{Status: statusSpending, Nonce: "n"})}, want: none},
		"with half a fingerprint":    {steps: []string{document("r1", with(claim, func(r *record) { r.Fingerprint = print[:16] }))}, want: none},
		"another token's, disabled":  {steps: []string{document("r1", with(other, byField))}, want: record{Disabled: "true"}},
		"another token's, by status": {steps: []string{document("r1", with(other, byStatus))}, want: record{Status: statusDisabled}},

		"written anew over a claim":         {steps: []string{document("r1", claim), document("r1", none)}, want: claim},
		"written anew over a refusal":       {steps: []string{document("r1", refused), document("r1", none)}, want: refused},
		"written anew, many times":          {steps: []string{document("r1", claim), document("r1", none), document("r1", none), document("r1", none)}, want: claim},
		"written anew with another's":       {steps: []string{document("r1", claim), document("r1", other)}, want: claim},
		"gone back to an older token":       {steps: []string{document("r1", claim), document("r2", other), document("r1", none)}, want: claim},
		"gone back past one without tokens": {steps: []string{document("r1", claim), `{"a":1}`, document("r1", none)}, want: claim},
		"the nearest counts":                {steps: []string{document("r1", claim), document("r1", ready), document("r1", none)}, want: ready},
		"the nearest that speaks of it counts": {
			steps: []string{document("r1", ready), document("r1", claim), document("r2", other), document("r3", none), document("r1", none)}, want: claim,
		},
		"only other tokens": {steps: []string{document("r2", other), document("r3", none), document("r1", none)}, want: none},
		"a record whose token is not in its own version": {
			steps: []string{document("r2", claim), document("r1", none)}, want: claim,
		},

		"disabled by field since":  {steps: []string{document("r1", claim), document("r1", record{Disabled: "true"})}, want: with(claim, byField)},
		"disabled by status since": {steps: []string{document("r1", claim), document("r1", record{Status: statusDisabled})}, want: with(claim, byStatus)},
		"disabled no more":         {steps: []string{document("r1", with(ready, byField)), document("r1", none)}, want: ready},
		"disabled no more, in a claim": {
			steps: []string{document("r1", with(claim, byField)), document("r1", none)}, want: claim,
		},
		"disabled by status no more": {
			steps: []string{document("r1", with(ready, byStatus)), document("r1", none)}, want: with(ready, func(r *record) { r.Status = "" }),
		},
		"disabled by status no more, in a claim": {
			steps: []string{document("r1", with(claim, byStatus)), document("r1", none)}, want: with(claim, func(r *record) { r.Status = "" }),
		},

		"deleted, over the same token": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", none)}, want: nobody(2),
		},
		"deleted, over another token": {
			steps: []string{document("r2", none), document("r1", claim), deleteNow, document("r1", none)}, want: none,
		},
		"deleted, over no token": {
			steps: []string{`{"a":1}`, document("r1", claim), deleteNow, document("r1", none)}, want: none,
		},
		"deleted, over another token, over a claim": {
			steps: []string{document("r1", claim), document("r2", none), document("r2", none), deleteNow, document("r1", none)}, want: claim,
		},
		"deleted over a claim, which may have been claimed over": {
			steps: []string{document("r1", claim), document("r1", none), deleteNow, document("r1", none)}, want: nobody(2),
		},
		"deleted, disabled since": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", record{Disabled: "true"})}, want: with(nobody(2), byField),
		},
		"deleted, but what was written then speaks of it": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", ready)}, want: ready,
		},
		"deleted, but a nearer one speaks of it": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", ready), document("r1", none)}, want: ready,
		},
		"the first deleted and put anew": {steps: []string{document("r1", none), deleteNow, document("r1", none)}, want: none},
		"deleted, put, deleted, put": {
			steps: []string{document("r1", none), deleteNow, document("r1", none), deleteNow, document("r1", none)}, want: none,
		},
		"deleted, put, deleted, put, without times": {
			steps: []string{document("r1", none), deleteNow, document("r1", none), deleteNow, document("r1", none)},
			older: change{1: deletedWithoutTimes, 2: deletedWithoutTimes}, want: nobody(2),
		},
		"two deleted after they were written": {
			steps: []string{document("r1", none), document("r1", claim), document("r1", none)},
			older: change{1: deletedAt(time.Now().Add(time.Hour)), 2: deletedAt(time.Now().Add(time.Hour))}, want: nobody(2),
		},
		"deleted after a deleted one, over the same token": {
			// 3 was put when 2 was gone, and is no claim; 2 is a claim over 1.
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", none), deleteNow, document("r1", none)}, want: nobody(2),
		},
		"history ends at a deleted one": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", none)},
			older: change{1: forgotten}, want: nobody(2),
		},
		"history ends at a readable one": {
			steps: []string{document("r1", claim), document("r2", none), document("r1", none)},
			older: change{1: forgotten}, want: none,
		},
		"no history at all": {
			steps: []string{document("r1", claim), document("r1", none)}, older: change{1: forgotten}, want: none,
		},
		"garbage on the way": {
			steps: []string{document("r1", claim), document("r1", none), document("r1", none)}, older: change{2: garbage}, want: claim,
		},
		"deleted, over garbage": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", none)}, older: change{1: garbage}, want: none,
		},

		"exclusive: deleted, over the same token": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", none)}, exclusive: true, want: none,
		},
		"exclusive: deleted, over a claim": {
			steps: []string{document("r1", claim), document("r1", none), deleteNow, document("r1", none)}, exclusive: true, want: claim,
		},
		"exclusive: history ends": {
			steps: []string{document("r1", none), document("r1", claim), deleteNow, document("r1", none)}, exclusive: true,
			older: change{1: forgotten}, want: none,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := oauth2Of(t)
			synctest.Test(t, func(t *testing.T) {
				h := past(t, test.steps...)
				h.older = test.older
				c := over(h, Options{Exclusive: test.exclusive})
				newest, err := c.read(key)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := c.standing(key, o, newest); err != nil || got != test.want {
					t.Errorf("got %+v, %v\nwant %+v", got, err, test.want)
				}
			})
		})
	}
}

func TestStandingOfWhatHasNoVersionsOrNoToken(t *testing.T) {
	o, h := oauth2Of(t), &history{Memory: storetest.NewMemory()}
	c := over(h, Options{})
	of := func(document string, number uint64) version {
		return version{Credential: parse(t, credential.Document{Data: []byte(document), Version: number})}
	}
	for _, number := range []uint64{0, 1} {
		if got, err := c.standing(key, o, of(`{"refresh_token":"r1"}`, number)); got != (record{}) || err != nil {
			t.Errorf("version %d: %+v, %v", number, got, err)
		}
	}
	for _, document := range []string{`{}`, `{"refresh_token":""}`, `{"refresh_token":{}}`} {
		if got, err := c.standing(key, o, of(document, 9)); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %+v, %v", document, got, err)
		}
	}
	if h.Gets() != 0 {
		t.Errorf("%d reads for nothing", h.Gets())
	}
}

func TestStandingLooksBackSoFarAndNoFarther(t *testing.T) {
	o := oauth2Of(t)
	claim := record{Status: statusSpending, Fingerprint: fingerprint("r1"), Nonce: "n1"}
	for since, want := range map[int]record{maxLookBack: claim, maxLookBack + 1: {}} {
		synctest.Test(t, func(t *testing.T) {
			steps := []string{document("r1", claim)}
			for range since {
				steps = append(steps, document("r1", record{}))
			}
			h := past(t, steps...)
			c := over(h, Options{})
			newest, err := c.read(key)
			if err != nil {
				t.Fatal(err)
			}
			before := h.Gets()
			if got, err := c.standing(key, o, newest); got != want || err != nil {
				t.Errorf("%d versions since: %+v, %v", since, got, err)
			}
			if reads := h.Gets() - before; reads != maxLookBack {
				t.Errorf("%d reads", reads)
			}
		})
	}
}

func TestStandingDoesNotGuessWhenTheStoreFails(t *testing.T) {
	o := oauth2Of(t)
	synctest.Test(t, func(t *testing.T) {
		h := past(t, document("r1", record{}), document("r1", record{}), document("r1", record{}))
		h.older[1] = func(credential.Document, error) (credential.Document, error) {
			return credential.Document{}, credential.ErrUnavailable
		}
		c := over(h, Options{})
		newest, err := c.read(key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.standing(key, o, newest)
		if !errors.Is(err, ErrFailed) || !errors.Is(err, credential.ErrUnavailable) || got != (record{}) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestSpokeOfATokenBetweenTwoVersions(t *testing.T) {
	of := func(token string) string {
		return document(token, record{Status: statusReady, Fingerprint: fingerprint(token)})
	}
	plain := func(token string) string { return document(token, record{}) }
	type change = map[uint64]func(credential.Document, error) (credential.Document, error)
	for name, test := range map[string]struct {
		steps         []string
		older         change
		after, before uint64
		want          bool
	}{
		"in between":         {steps: []string{plain("r1"), of("r2"), plain("r1")}, after: 1, before: 3, want: true},
		"not there":          {steps: []string{plain("r1"), of("r3"), plain("r1")}, after: 1, before: 3},
		"the ends are not":   {steps: []string{of("r2"), plain("r1"), of("r2")}, after: 1, before: 3},
		"nothing in between": {steps: []string{of("r2"), of("r2")}, after: 1, before: 2},
		"the same version":   {steps: []string{of("r2")}, after: 1, before: 1},
		// Only what this protocol wrote says so.
		"the token without a record": {steps: []string{plain("r1"), plain("r2"), plain("r1")}, after: 1, before: 3, want: true},
		"past deleted ones and garbage": {
			steps: []string{plain("r1"), of("r2"), plain("r1"), deleteNow, plain("r1"), plain("r1")},
			older: change{4: garbage}, after: 1, before: 5, want: true,
		},
		"history ends": {
			steps: []string{plain("r1"), of("r2"), plain("r1"), plain("r1")}, older: change{3: forgotten}, after: 1, before: 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := past(t, test.steps...)
				h.older = test.older
				got, err := over(h, Options{}).spoke(key, oauth2Of(t), test.after, test.before, fingerprint("r2"))
				if got != test.want || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		})
	}
}

func TestSpokeDoesNotGuessWhenTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := past(t, document("r1", record{}), document("r1", record{}), document("r1", record{}))
		h.older[2] = func(credential.Document, error) (credential.Document, error) {
			return credential.Document{}, credential.ErrUnavailable
		}
		if got, err := over(h, Options{}).spoke(key, oauth2Of(t), 1, 3, fingerprint("r2")); got || !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestSpokeLooksBackSoFarAndNoFarther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := []string{document("r1", record{})}
		for range 2 * maxLookBack {
			steps = append(steps, document("r1", record{}))
		}
		h := past(t, steps...)
		before := h.Gets()
		if got, err := over(h, Options{}).spoke(key, oauth2Of(t), 1, uint64(len(steps)), fingerprint("r2")); got || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
		if reads := h.Gets() - before; reads != maxLookBack {
			t.Errorf("%d reads", reads)
		}
	})
}
