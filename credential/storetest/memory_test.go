package storetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var acme = credential.Key{Provider: "billing", Tenant: "acme"}

func TestMemoryIsAStore(t *testing.T) {
	TestStore(t, func(*testing.T) credential.Store { return NewMemory() })
}

func TestMemoryWithHooksIsAStore(t *testing.T) {
	TestStore(t, func(*testing.T) credential.Store {
		m := NewMemory()
		pass := func(string, credential.Key) error { return nil }
		m.Fault, m.After = pass, pass
		return m
	})
}

func TestFaultKeepsTheOperationFromBeingDone(t *testing.T) {
	down := errors.New("down")
	m := NewMemory()
	var failing string
	m.Fault = func(op string, key credential.Key) error {
		if key != acme {
			t.Error("hook was given another key")
		}
		if op == failing {
			return down
		}
		return nil
	}
	failing = OpPut
	if _, err := m.Put(t.Context(), acme, []byte(`{}`), 0); !errors.Is(err, down) {
		t.Errorf("Put: error %v", err)
	}
	failing = ""
	if _, err := m.Get(t.Context(), acme); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("Get after a failed Put: error %v", err)
	}
	if version, err := m.Put(t.Context(), acme, []byte(`{}`), 0); version != 1 || err != nil {
		t.Errorf("Put: version %d, error %v", version, err)
	}
	failing = OpDelete
	if err := m.Delete(t.Context(), acme); !errors.Is(err, down) {
		t.Errorf("Delete: error %v", err)
	}
	failing = OpGet
	if _, err := m.Get(t.Context(), acme); !errors.Is(err, down) {
		t.Errorf("Get: error %v", err)
	}
	if m.Gets() != 2 || m.Puts() != 2 || m.Deletes() != 1 {
		t.Errorf("%d gets, %d puts, %d deletes counted; want 2, 2, 1", m.Gets(), m.Puts(), m.Deletes())
	}
}

func TestAfterLosesTheAnswerOfWhatWasDone(t *testing.T) {
	lost := errors.New("lost")
	m := NewMemory()
	var losing string
	m.After = func(op string, _ credential.Key) error {
		if op == losing {
			return lost
		}
		return nil
	}
	losing = OpPut
	if version, err := m.Put(t.Context(), acme, []byte(`{"n":1}`), 0); version != 0 || !errors.Is(err, lost) {
		t.Errorf("Put: version %d, error %v", version, err)
	}
	losing = OpGet
	if doc, err := m.Get(t.Context(), acme); doc.Version != 0 || doc.Data != nil || !errors.Is(err, lost) {
		t.Errorf("Get: %v, error %v", doc, err)
	}
	losing = OpDelete
	if doc, err := m.Get(t.Context(), acme); doc.Version != 1 || string(doc.Data) != `{"n":1}` || err != nil {
		t.Errorf("Get after a Put whose answer was lost: %v, error %v", doc, err)
	}
	if err := m.Delete(t.Context(), acme); !errors.Is(err, lost) {
		t.Errorf("Delete: error %v", err)
	}
	if doc, err := m.Get(t.Context(), acme); doc.Version != 1 || !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("Get after a Delete whose answer was lost: %v, error %v", doc, err)
	}
}

func TestCallsEndWithTheirContextWhileAHookBlocks(t *testing.T) {
	hooks := map[string]func(m *Memory, hook func(string, credential.Key) error){
		"Fault": func(m *Memory, hook func(string, credential.Key) error) { m.Fault = hook },
		"After": func(m *Memory, hook func(string, credential.Key) error) { m.After = hook },
	}
	for name, set := range hooks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, release := NewMemory(), make(chan struct{})
				set(m, func(op string, _ credential.Key) error {
					if op == OpPut {
						<-release
					}
					return nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				_, err := m.Put(ctx, acme, []byte(`{}`), 0)
				if !errors.Is(err, credential.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Put: error %v", err)
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("Put took %v", took)
				}
				_, err = m.Get(t.Context(), acme)
				if made := err == nil; made != (name == "After") {
					t.Errorf("Put was made: %v", made)
				}
				close(release)
			})
		})
	}
}
