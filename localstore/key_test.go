package localstore

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestKeyFilesThatAreRefused(t *testing.T) {
	secret := strings.Repeat("k", keySize)
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	tests := map[string]struct {
		content string
		mode    os.FileMode
		want    string // "" means that it is accepted
	}{
		"a key":                   {encoded + "\n", 0o600, ""},
		"without newline":         {encoded, 0o600, ""},
		"with CRLF":               {encoded + "\r\n", 0o600, ""},
		"read-only":               {encoded + "\n", 0o400, ""},
		"of a container":          {encoded + "\n", 0o444, ""},
		"writable by group":       {encoded + "\n", 0o620, "can be written by group or others (mode 0620)"},
		"writable by others":      {encoded + "\n", 0o602, "can be written by group or others (mode 0602)"},
		"empty":                   {"", 0o600, "does not hold a key"},
		"too short":               {base64.StdEncoding.EncodeToString([]byte(secret[1:])) + "\n", 0o600, "does not hold a key"},
		"too long":                {base64.StdEncoding.EncodeToString([]byte(secret+"k")) + "\n", 0o600, "does not hold a key"},
		"raw bytes":               {secret, 0o600, "does not hold a key"},
		"two keys":                {encoded + "\n" + encoded + "\n", 0o600, "does not hold a key"},
		"text":                    {"hunter2 hunter2\n", 0o600, "does not hold a key"},
		"a key, then a long tail": {encoded + strings.Repeat("\n", maxKeyFile) + "x", 0o600, "does not hold a key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := configIn(t.TempDir())
			if err := os.WriteFile(config.KeyFile, []byte(test.content), test.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(config.KeyFile, test.mode); err != nil { // past the umask
				t.Fatal(err)
			}
			if test.want == "" {
				openStore(t, config)
				return
			}
			mustNotOpen(t, config, test.want)
			_, err := readKey(config.KeyFile)
			if strings.Contains(err.Error(), encoded[:8]) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the file: %v", err)
			}
			if content, err := os.ReadFile(config.KeyFile); err != nil || string(content) != test.content {
				t.Error("the key file was changed")
			}
		})
	}
}

func TestKeyFileInAMissingDirectoryIsAnError(t *testing.T) {
	config := configIn(t.TempDir())
	config.KeyFile = filepath.Join(filepath.Dir(config.KeyFile), "not-mounted", "key")
	mustNotOpen(t, config, "key file")
}

func TestADirectoryIsNoKeyFile(t *testing.T) {
	config := configIn(t.TempDir())
	if err := os.Mkdir(config.KeyFile, 0o700); err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, config, "not a regular file")
}

func TestMakersOfAKeyAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([][]byte, 16)
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range keys {
		group.Go(func() {
			<-start
			if err := makeKey(path); err != nil {
				t.Errorf("makeKey: %v", err)
				return
			}
			var err error
			if keys[i], err = readKey(path); err != nil {
				t.Errorf("readKey: %v", err)
			}
		})
	}
	close(start)
	group.Wait()
	for _, key := range keys {
		if !bytes.Equal(key, keys[0]) || bytes.Equal(key, make([]byte, keySize)) {
			t.Fatal("the makers have different keys, or none")
		}
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, error %v", names, err)
	}
	content, err := os.ReadFile(path)
	if err != nil || len(content) != 45 || content[44] != '\n' {
		t.Errorf("the file has %d bytes, want 44 of base64 and a newline; error %v", len(content), err)
	}
}
