package body

import (
	"bytes"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

func TestSharedMemoryIsUsedBeforeTheFile(t *testing.T) {
	shared := NewSharedMemory(2 << 20)
	for name, test := range map[string]struct {
		size   int
		memory int64
		whole  bool // although no file can be made
	}{
		"within its own memory":    {4 << 10, 64 << 10, true},
		"within shared memory":     {1 << 20, 64 << 10, true},
		"no memory of its own":     {1 << 20, 0, true},
		"beyond a recording's":     {1<<20 + 64<<10 + 1, 64 << 10, false},
		"far beyond a recording's": {3 << 20, 64 << 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			body := bodytest.RandomBytes(test.size)
			r := record(bytes.NewReader(body), int64(len(body)), Limits{MaxBody: 4 << 20, Memory: test.memory, Shared: shared, Dir: "/dev/null/not"})
			defer r.Close()
			bodytest.MustRead(t, r.Restart(nil, nil), body)
			if r.IsWhole() != test.whole {
				t.Errorf("whole: %v", r.IsWhole())
			}
		})
	}
	if got := shared.free.Load(); got != 2<<20/largeChunk {
		t.Errorf("%d chunks of %d were given back", got, 2<<20/largeChunk)
	}
}

func TestSharedMemoryDoesNotLengthenWhatIsRecorded(t *testing.T) {
	const limit = 200_001
	for _, size := range []int{limit - 1, limit, limit + 1, limit + largeChunk} {
		body := bodytest.RandomBytes(size)
		r := record(bytes.NewReader(body), -1, Limits{MaxBody: limit, Memory: 5001, Shared: NewSharedMemory(1 << 20), Dir: "/dev/null/not"})
		bodytest.MustRead(t, r.Restart(nil, nil), body)
		want := SkipReason("")
		if size > limit {
			want = TooLarge
		}
		if got := r.lostBecause(); got != want {
			t.Errorf("%d bytes: %q, want %q", size, got, want)
		}
		r.Close()
	}
}

func TestSharedMemoryIsForAllRecordingsTogether(t *testing.T) {
	shared := NewSharedMemory(1 << 20)
	limits := Limits{MaxBody: 1 << 20, Shared: shared, Dir: t.TempDir()}
	body := bodytest.RandomBytes(600 << 10)
	first := record(bytes.NewReader(body), int64(len(body)), limits)
	defer first.Close()
	bodytest.MustRead(t, first.Restart(nil, nil), body)
	second := record(bytes.NewReader(body), int64(len(body)), limits)
	defer second.Close()
	bodytest.MustRead(t, second.Restart(nil, nil), body)
	if first.file != nil || second.file == nil {
		t.Errorf("files: %v, %v; only the second should have needed one", first.file != nil, second.file != nil)
	}
	for _, r := range []*Recording{first, second} {
		bodytest.MustRead(t, r.Restart(nil, nil), body)
	}

	first.Close()
	third := record(bytes.NewReader(body), int64(len(body)), limits)
	defer third.Close()
	bodytest.MustRead(t, third.Restart(nil, nil), body)
	if third.file != nil {
		t.Error("what the first gave back was not used")
	}
}
