package journal_test

import (
	"bytes"
	"path/filepath"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
)

func TestDiskKeepsTheContract(t *testing.T) {
	journaltest.Test(t, func(t *testing.T) func() journaltest.Killable {
		dir := filepath.Join(t.TempDir(), "made", "when needed")
		return func() journaltest.Killable {
			disk, err := journal.NewDisk(dir, bytes.Repeat([]byte{1}, journal.KeySize))
			if err != nil {
				t.Fatal(err)
			}
			p := &process{disk: disk}
			t.Cleanup(p.Kill)
			return p
		}
	})
}

// process is this process, as if it were several.
type process struct {
	disk *journal.Disk
	mu   sync.Mutex
	held []journal.Adopted
}

func (p *process) Open() (journal.Journal, error) {
	j, err := p.disk.Open()
	if err == nil {
		p.hold(j)
	}
	return j, err
}

func (p *process) Adopt() ([]journal.Adopted, []*journal.FileError, error) {
	adopted, left, err := p.disk.Adopt()
	p.hold(adopted...)
	return adopted, left, err
}

func (p *process) hold(journals ...journal.Adopted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, journals...)
}

func (p *process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.held {
		journal.Abandon(j)
	}
	p.held = nil
}
