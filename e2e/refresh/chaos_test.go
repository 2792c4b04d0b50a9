package refresh

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Vault is sealed, killed and started again, sidecars are killed, suspended and
// started again, and the authorization server is slow, says that it is busy, fails
// before it has rotated, and after. All at random, under load, with tokens that are
// rotated all the time. No refresh token is presented again while somebody has the
// answer or may get it, no request reaches the upstream twice, and what only the
// faults kept from being served is served soon after they end.
//
// E2E_SEED repeats the choices of a run, though not their timing.
func TestFaultsAtRandom(t *testing.T) {
	c := newChaos(t, trouble{
		duration: 45 * time.Second, tenants: 20,
		store: world.PromptVault, takeover: 15 * time.Second,
		apps: 12, pause: 40 * time.Millisecond, expiring: 80 * time.Millisecond,
		calm: 300 * time.Millisecond, mishaps: 15, within: 10 * time.Second,
	})
	c.endure()
	c.settle()
	c.report()
}

// trouble is what a fleet goes through.
type trouble struct {
	duration time.Duration
	tenants  int
	keeping  int           // of so many tenants one keeps its refresh token; 0: all rotate
	lifespan time.Duration // of access tokens; 0: longer than the test
	store    string        // lines of its configuration
	oauth2   string        // the same
	takeover time.Duration

	apps     int           // that send requests
	pause    time.Duration // of each between two, at most
	expiring time.Duration // from one access token that ends early to the next

	calm    time.Duration // between two faults at least, five times as long at most
	spared  string        // sidecar that is suspended, but never killed
	mishaps int           // token requests of 100 that go wrong
	late    int           // of 1,000 that are answered after 11 to 14 s

	within time.Duration // in which all are served after the last fault
}

// chaos is a fleet in trouble.
type chaos struct {
	*world.Fleet
	trouble trouble
	choices uint64 // E2E_SEED
	tenants []string
	keeps   map[string]bool // tenants whose refresh token stays
	random  *rand.Rand      // of the one who disturbs
	faults  map[string]int

	ended     time.Time     // the last fault
	recovered time.Duration // from then until the last tenant was served

	mu         sync.Mutex
	crashes    []crash
	answers    map[string]int       // by status and code
	authorized map[string]time.Time // before a person last brought tokens
	denied     []string             // tenants that wait for a person
	brought    int                  // times that a person did
}

func newChaos(t *testing.T, trouble trouble) *chaos {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("E2E_SEED=%d", seed)
	w := world.NewFor(t, authserver.Config{Lifespan: trouble.lifespan}, trouble.duration+3*time.Minute)
	c := &chaos{
		Fleet:   w.Fleet(world.Configuration{Quiet: true, Store: trouble.store, OAuth2: fmt.Sprintf("takeover %v\n%s", trouble.takeover, trouble.oauth2)}),
		trouble: trouble, choices: seed, keeps: make(map[string]bool),
		random: rand.New(rand.NewPCG(seed, 0)),
		faults: make(map[string]int), answers: make(map[string]int), authorized: make(map[string]time.Time),
	}
	for i := range trouble.tenants {
		tenant := fmt.Sprintf("tenant-%02d", i)
		c.tenants = append(c.tenants, tenant)
		c.keeps[tenant] = trouble.keeping > 0 && i%trouble.keeping == 0
		c.Seed(tenant)
		c.authorized[tenant] = time.Now()
	}
	return c
}

// endure has all of it happen, and what is given beside it. When it returns, the faults
// have just ended, and nobody sends requests.
func (c *chaos) endure(beside ...func(context.Context)) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Ctx)
	defer stop()
	random := func(stream int) *rand.Rand { return rand.New(rand.NewPCG(c.choices, uint64(stream))) }
	c.Auth.Play(c.misbehave(ctx, random(1)))
	var load sync.WaitGroup
	for i := range c.trouble.apps {
		load.Go(func() { c.use(ctx, random(i+10)) })
	}
	load.Go(func() { c.expireAtRandom(ctx, random(2)) })
	load.Go(func() { c.reauthorizeAll(ctx) })
	for _, f := range beside {
		load.Go(func() { f(ctx) })
	}
	for end := time.Now().Add(c.trouble.duration); time.Now().Before(end); {
		c.disturb()
	}
	for _, w := range c.Replicas() {
		select {
		case <-w.Caddy.Exited():
			c.Fatal("a sidecar has ended that nobody killed")
		default:
		}
	}
	c.Auth.Play(nil)
	stop() // what the token endpoint has kept waiting is answered now
	c.ended = time.Now()
	load.Wait()
}

// settle checks that all is well again, and what the authorization server and the
// upstream saw meanwhile.
func (c *chaos) settle() {
	c.Helper()
	c.servedWithin(c.trouble.within)
	for _, tenant := range c.tenants {
		c.Soon(c.trouble.takeover, func() error {
			record, err := c.Record(tenant)
			if status := record["status"]; status == "spending" || status == "reauthorization_required" && !c.lost(tenant) {
				err = fmt.Errorf("%s: status %s", tenant, status)
			}
			return err
		})
	}
	doubleSpends, _ := audit(c.Auth.Ledger(), c.crashes)
	for _, d := range doubleSpends {
		c.Errorf("a refresh token was presented again while somebody had the answer, or could get it: %+v, then %+v; crashes %v", d.first, d.second, c.crashes)
	}
	c.eachOnce()
}

// misbehave is the authorization server's script. No tenant has bad luck more than
// twice in a row: cooldowns double. The delays end with ctx.
func (c *chaos) misbehave(ctx context.Context, random *rand.Rand) authserver.Script {
	unlucky := make(map[string]int)
	return func(e authserver.Entry) (b authserver.Behaviour) {
		b.Keep = c.keeps[e.Tenant]
		delay := time.Duration(0)
		if random.IntN(3) == 0 {
			delay = time.Duration(random.IntN(800)) * time.Millisecond
		}
		b.Before = func() { world.Pause(ctx, delay) }
		if random.IntN(1000) < c.trouble.late {
			delay = 11*time.Second + time.Duration(random.IntN(3000))*time.Millisecond
			if random.IntN(2) == 0 { // the token is spent at once
				b.Before, b.Between = nil, b.Before
			}
			return b
		}
		if random.IntN(100) >= c.trouble.mishaps {
			unlucky[e.Tenant] = 0
			return b
		}
		if unlucky[e.Tenant]++; unlucky[e.Tenant] > 2 {
			unlucky[e.Tenant] = 0
			return b
		}
		switch dice := random.IntN(15); {
		case dice < 3:
			b.After = authserver.Drop
		case dice < 6:
			b.After = authserver.Error500
		case dice < 11:
			b.Instead = authserver.Unavailable("1")
		case dice < 13:
			b.Instead = authserver.HangUp
		default:
			b.Instead = func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}
		return b
	}
}

// disturb does one thing to Vault or to a sidecar, or to both at once, for a short
// time, and leaves all as it should be.
func (c *chaos) disturb() {
	c.Helper()
	c.pause(int(c.trouble.calm.Milliseconds()), int(5*c.trouble.calm.Milliseconds()))
	fault := []string{"vault sealed", "vault killed", "sidecar killed", "sidecar suspended", "vault sealed, sidecar killed"}[c.random.IntN(5)]
	c.faults[fault]++
	killed := strings.Contains(fault, "sidecar killed")
	i := c.random.IntN(3)
	for killed && string("abc"[i]) == c.trouble.spared {
		i = c.random.IntN(3)
	}
	w, sender := c.Replicas()[i], string("abc"[i])
	if strings.Contains(fault, "vault sealed") {
		c.Vault.Seal()
		defer c.Vault.Unseal()
		c.pause(600, 1500) // so that answers come that cannot be committed, and are on disk
	}
	switch {
	case fault == "vault killed":
		c.Vault.Kill()
		c.pause(0, 1000)
		c.Vault.Restart()
	case killed:
		c.mu.Lock()
		c.crashes = append(c.crashes, crash{sender, time.Now()})
		c.mu.Unlock()
		w.Kill()
		c.pause(0, 1500)
		w.Restart()
	case fault == "sidecar suspended":
		c.Check(w.Caddy.Suspend())
		c.pause(300, 2000)
		w.Resume()
	}
}

// pause waits for a random time between two numbers of milliseconds.
func (c *chaos) pause(from, to int) {
	world.Pause(c.Ctx, time.Duration(from+c.random.IntN(to-from))*time.Millisecond)
}

// use sends requests of all tenants to all sidecars.
func (c *chaos) use(ctx context.Context, random *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		tenant, w := c.tenants[random.IntN(len(c.tenants))], c.Replicas()[random.IntN(3)]
		r := world.Request{Tenant: tenant, ID: fmt.Sprintf("%s request %d %x", tenant, n, random.Uint32()), Body: world.RandomBytes(random.IntN(20 * world.KiB))}
		res, err := w.Send(ctx, r)
		if ctx.Err() != nil {
			return
		}
		answer := "none"
		if err == nil {
			answer = strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", res.Header.Get("Upstream-Auth-Error")))
		}
		switch answer {
		case "200":
			if err := w.Delivered(r, res); err != nil {
				w.Error(err)
			}
		case "none", "401", "401 refresh_failed", "503 store_unavailable":
		case "401 reauthorization_required":
			c.deny(tenant)
		default:
			w.Errorf("%s: answer %s %q", r.ID, answer, res.Content)
		}
		c.mu.Lock()
		c.answers[answer]++
		c.mu.Unlock()
		world.Pause(ctx, time.Duration(random.Int64N(int64(c.trouble.pause))))
	}
}

func (c *chaos) expireAtRandom(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		if err := c.Auth.Expire(c.tenants[random.IntN(len(c.tenants))]); err != nil {
			c.Error(err)
		}
		world.Pause(ctx, c.trouble.expiring)
	}
}

// deny notes that a tenant waits for a person.
func (c *chaos) deny(tenant string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.denied, tenant) {
		c.denied = append(c.denied, tenant)
	}
}

// reauthorizeAll is the person who brings new tokens to those who need them.
func (c *chaos) reauthorizeAll(ctx context.Context) {
	for ctx.Err() == nil {
		world.Pause(ctx, 500*time.Millisecond)
		c.mu.Lock()
		denied := c.denied
		c.denied = nil
		c.mu.Unlock()
		for _, tenant := range denied {
			record, err := c.Record(tenant)
			if err == nil && record["status"] != "reauthorization_required" {
				continue // that was an answer from before
			}
			if err == nil && !c.lost(tenant) {
				c.Errorf("%s is sent to a person, though nobody lost its tokens: %+v", tenant, c.Auth.Of(tenant))
			}
			if err == nil {
				err = c.reauthorize(tenant)
			}
			if err != nil {
				c.deny(tenant) // Vault is not there now
			}
		}
	}
}

func (c *chaos) reauthorize(tenant string) error {
	begun := time.Now() // the tokens may be used, and lost, before we know that they are in
	tokens, err := c.Auth.Seed(tenant)
	if err != nil {
		return err
	}
	_, err = c.Vault.Root.Logical().WriteWithContext(c.Ctx, world.PathOf(tenant), map[string]any{"data": world.DocumentOf(tenant, tokens)})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.authorized[tenant] = begun
	c.brought++
	return nil
}

// lost reports whether the tenant's newest tokens may be lost, by what this test
// did. A refresh token that stays never is.
func (c *chaos) lost(tenant string) bool {
	c.mu.Lock()
	since, crashes := c.authorized[tenant], slices.Clone(c.crashes)
	c.mu.Unlock()
	entries := slices.DeleteFunc(c.Auth.Of(tenant), func(e authserver.Entry) bool {
		return e.At.Before(since) || e.Settled.IsZero()
	})
	slices.SortFunc(entries, func(a, b authserver.Entry) int { return a.Settled.Compare(b.Settled) })
	for _, e := range slices.Backward(entries) {
		if loses(repeatable(e, time.Now(), crashes)) {
			return !c.keeps[tenant]
		}
		if e.Outcome == authserver.Rotated {
			return false // whoever presented this token had all answers before
		}
	}
	return false
}

// servedWithin checks that all tenants are served within a limit after the last fault,
// but those whose newest tokens may be lost: they may as well be sent to a person.
func (c *chaos) servedWithin(limit time.Duration) {
	c.Helper()
	var all sync.WaitGroup
	var late []string
	for i, tenant := range c.tenants {
		w := c.Replicas()[i%3]
		all.Go(func() {
			for {
				r := world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " when all is calm ", time.Now())}
				res, err := w.Send(w.Ctx, r)
				if err == nil {
					err = w.Delivered(r, res)
				}
				if err != nil && c.lost(tenant) {
					err = reauthorization(w, tenant)
				}
				took := time.Since(c.ended)
				if took <= limit && err != nil {
					world.Pause(c.Ctx, 50*time.Millisecond)
					continue
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				c.recovered = max(c.recovered, took)
				if took > limit {
					late = append(late, fmt.Sprintf("%s, after %v: %v", tenant, took.Round(time.Millisecond), err))
				}
				return
			}
		})
	}
	all.Wait()
	if len(late) > 0 {
		c.Errorf("%d tenants are not served within %v; the first of them:\n%s", len(late), limit, strings.Join(late[:min(len(late), 5)], "\n"))
	}
}

// eachOnce checks that no request was accepted by the upstream twice, or in
// another's name.
func (c *chaos) eachOnce() {
	c.Helper()
	accepted := make(map[string]int)
	for _, a := range c.API.All() {
		if a.Number > 2 {
			c.Errorf("%s: attempt %d", a.ID, a.Number)
		}
		if !a.Accepted {
			continue
		}
		if accepted[a.ID]++; accepted[a.ID] > 1 {
			c.Errorf("%s: accepted %d times", a.ID, accepted[a.ID])
		}
		if !strings.HasPrefix(a.ID, a.Tenant+" ") {
			c.Errorf("%s: in the name of %s", a.ID, a.Tenant)
		}
	}
}

// report prints what has happened as one table.
func (c *chaos) report(more ...[2]string) {
	ledger := c.Auth.Ledger()
	doubleSpends, repeated := audit(ledger, c.crashes)
	outcomes := make(map[string]int)
	for _, e := range ledger {
		outcomes[string(e.Outcome)]++
	}
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "| %s | %v |\n", name, value) }
	section := func(name string, counts map[string]int) {
		for _, key := range slices.Sorted(maps.Keys(counts)) {
			row(name+": "+key, counts[key])
		}
	}
	row("tenants, replicas, seconds of faults", fmt.Sprintf("%d, 3, %.0f", len(c.tenants), c.trouble.duration.Seconds()))
	section("fault", c.faults)
	section("answer to the app", c.answers)
	row("token requests", len(ledger))
	section("token request", outcomes)
	row("refresh tokens presented again while somebody had the answer, or could get it", len(doubleSpends))
	section("presented again since", repeated)
	row("authorized anew by a person", c.brought)
	row("all served after the last fault", c.recovered.Round(100*time.Millisecond))
	for _, m := range more {
		row(m[0], m[1])
	}
	c.Logf("\n%s", b.String())
}
