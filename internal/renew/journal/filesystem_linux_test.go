package journal

import (
	"os"
	"testing"
)

func TestInspectKnowsAFileSystemInMemory(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "journal")
	if err != nil {
		t.Skipf("no /dev/shm: %v", err)
	}
	defer os.RemoveAll(dir)
	if system, err := Inspect(dir); err != nil || !system.Volatile || system.Remote {
		t.Errorf("got %+v, %v", system, err)
	}
}
