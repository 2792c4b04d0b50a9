package body

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

// accounts returns accounts of tenants that may have so many bytes recorded, each and in
// total.
func accounts(t *testing.T, memory, disk, total int64) func(tenant string) budget.Account {
	t.Helper()
	var limits budget.Limits
	limits.Tenant[budget.Memory], limits.Tenant[budget.Disk], limits.Total[budget.Disk] = memory, disk, total
	provider := new(budget.Usage).Provider("crm", limits)
	return func(tenant string) budget.Account {
		a, err := provider.Take(tenant, budget.Requests)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

// recorded records a body of that size, reads it and returns the recording.
func recorded(t *testing.T, size int, limits Limits) *Recording {
	t.Helper()
	body := bodytest.RandomBytes(size)
	r := record(bytes.NewReader(body), int64(size), limits)
	bodytest.MustRead(t, r.Restart(nil, nil), body)
	if r.IsWhole() {
		bodytest.MustRead(t, r.Restart(nil, nil), body)
	}
	return r
}

// Over its budget for files a tenant's bodies are sent on without being recorded. Others'
// are recorded, and its own again once there is room.
func TestBodiesOverTheBudgetAreNotRecorded(t *testing.T) {
	account := accounts(t, 0, 1<<20, 3<<20/2)
	limits := smallLimits(t, 4<<20, 0)
	with := func(tenant string) Limits {
		l := limits
		l.Account = account(tenant)
		return l
	}
	first := recorded(t, 900_000, with("acme"))
	second := recorded(t, 900_000, with("acme"))
	third := recorded(t, 500_000, with("globex"))
	fourth := recorded(t, 500_000, with("globex")) // over the total
	for i, want := range []SkipReason{"", OverBudget, "", OverBudget} {
		r := []*Recording{first, second, third, fourth}[i]
		if got := r.lostBecause(); got != want {
			t.Errorf("recording %d: %q, want %q", i, got, want)
		}
	}
	if second.Held() != 0 || second.Rewind() != OverBudget {
		t.Errorf("%d bytes are held of what is not recorded", second.Held())
	}
	first.Close()
	again := recorded(t, 900_000, with("acme"))
	if !again.IsWhole() {
		t.Errorf("what was given back is not used: %q", again.lostBecause())
	}
	for _, r := range []*Recording{second, third, fourth, again} {
		r.Close()
	}
	if a := account("acme"); a.Take(budget.Disk, 1<<20) != nil {
		t.Error("not all was given back")
	}
	if a := account("globex"); a.Take(budget.Disk, 1<<19) != nil {
		t.Error("not all was given back")
	}
}

func TestMemoryOverTheBudgetIsAFile(t *testing.T) {
	account := accounts(t, largeChunk, 0, 0)
	for _, test := range []struct {
		name   string
		limits Limits
		want   SkipReason
	}{
		{"with a directory", Limits{MaxBody: 1 << 20, Memory: 256 << 10, Dir: t.TempDir()}, ""},
		{"in memory alone", Limits{MaxBody: 1 << 20}, OverBudget},
		{"shared memory", Limits{MaxBody: 1 << 20, Shared: NewSharedMemory(1 << 20), Dir: t.TempDir()}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.limits.Account = account("acme")
			r := recorded(t, 200_000, test.limits)
			if got := r.lostBecause(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if len(r.memory) > 1 {
				t.Errorf("%d chunks are in memory", len(r.memory))
			}
			r.Close()
			a := account("acme")
			if a.Take(budget.Memory, largeChunk) != nil {
				t.Error("not all was given back")
			}
			a.Give(budget.Memory, largeChunk)
		})
	}
}

// A file that cannot be written costs nothing of the budget.
func TestFailedFileIsGivenBack(t *testing.T) {
	account := accounts(t, 0, 1<<20, 0)
	r := recorded(t, 200_000, Limits{MaxBody: 1 << 20, Dir: "/dev/null/not", Account: account("acme")})
	if got := r.lostBecause(); got != Failed {
		t.Errorf("%q", got)
	}
	r.Close()
	if a := account("acme"); a.Take(budget.Disk, 1<<20) != nil {
		t.Error("not all was given back")
	}
}

// A client that is still being read when all is over gives nothing back twice.
func TestReadUnderWayAtTheEndIsGivenBack(t *testing.T) {
	account := accounts(t, 0, 1<<20, 0)
	gate := bodytest.NewGate()
	limits := smallLimits(t, 1<<20, 0)
	limits.Account = account("acme")
	r := record(gate, -1, limits)
	c := r.Restart(nil, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, c)
	}()
	<-gate.Asked
	gate.Answers <- make([]byte, 1000)
	<-gate.Asked
	r.Close()
	gate.Answers <- errors.New("gone")
	<-done
	a := account("acme")
	if a.Take(budget.Disk, 1<<20) != nil || a.Take(budget.Disk, 1) == nil {
		t.Error("it was not given back once")
	}
}

// The file system that the journal is on keeps its room.
func TestRecordingsLeaveTheJournalsRoom(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		room *Room
		want SkipReason
	}{
		"no room":              {NewRoom(dir, dir+"/not/there/yet", math.MaxInt64/2), OverBudget},
		"room":                 {NewRoom(dir+"/nor/here", dir, 1), ""},
		"another file system":  {NewRoom(dir, "/proc", math.MaxInt64/2), ""},
		"nothing to keep free": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			account := accounts(t, 0, 1<<20, 0)
			r := recorded(t, 200_000, Limits{MaxBody: 1 << 20, Dir: dir, Room: test.room, Account: account("acme")})
			if got := r.lostBecause(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			r.Close()
			if a := account("acme"); a.Take(budget.Disk, 1<<20) != nil {
				t.Error("not all was given back")
			}
		})
	}
}
