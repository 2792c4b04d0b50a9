package localstore

import (
	"bytes"
	"testing"
	"time"
)

func TestSealedEntriesComeBack(t *testing.T) {
	s := testSealer(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, e := range []entry{
		{data: []byte(`{"a":"b"}`), version: 1, writtenAt: at},
		{data: bytes.Repeat([]byte("x"), 1<<20), version: 1<<64 - 1, writtenAt: at},
		{version: 3, writtenAt: at, deleted: true},
		{},
	} {
		if e.writtenAt.IsZero() {
			e.writtenAt = time.Unix(0, 0)
		}
		sealed, err := s.seal(place(acme), e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.open(place(acme), sealed)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.data, e.data) || got.version != e.version || !got.writtenAt.Equal(e.writtenAt) || got.deleted != e.deleted {
			t.Errorf("got %v, want %v", got, e)
		}
	}
}

func TestSealingTwiceDiffers(t *testing.T) {
	s, e := testSealer(t), entry{data: []byte(`{"a":"b"}`), version: 1, writtenAt: time.Unix(1, 0)}
	one, err := s.seal(place(acme), e)
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.seal(place(acme), e)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one[headerSize:headerSize+12], two[headerSize:headerSize+12]) || bytes.Equal(one[headerSize+12:], two[headerSize+12:]) {
		t.Error("a nonce was used twice")
	}
}

// The only entry that opens is the one that was sealed.
func FuzzOpenSealed(f *testing.F) {
	s := testSealer(f)
	e := entry{data: []byte(`{"access_token":"x"}`), version: 7, writtenAt: time.Unix(1, 2)}
	sealed, err := s.seal(place(acme), e)
	if err != nil {
		f.Fatal(err)
	}
	for i := range sealed {
		f.Add(sealed[:i])
	}
	f.Add(sealed)
	f.Add(append(bytes.Clone(sealed), 0))
	f.Add(bytes.Repeat([]byte{entryFormat}, 300))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := s.open(place(acme), data)
		if err == nil && (!bytes.Equal(got.data, e.data) || got.version != e.version || !got.writtenAt.Equal(e.writtenAt) || got.deleted) {
			t.Errorf("opened %v", got)
		}
		if _, err := s.open(place(globex), data); err == nil {
			t.Error("opened in another place")
		}
	})
}

func testSealer(t testing.TB) *sealer {
	t.Helper()
	s, err := newSealer(bytes.Repeat([]byte("k"), keySize), bytes.Repeat([]byte("s"), saltSize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
