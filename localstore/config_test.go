package localstore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewRefusesWhatNamesNoFile(t *testing.T) {
	tests := map[string]struct {
		config Config
		want   string // "" means that it is accepted
	}{
		"both set":             {Config{Path: "a.db", KeyFile: "a.key"}, ""},
		"no path":              {Config{KeyFile: "a.key"}, "path is missing"},
		"no key file":          {Config{Path: "a.db"}, "key_file is missing"},
		"path is a directory":  {Config{Path: "a/", KeyFile: "a.key"}, "path names no file"},
		"path is here":         {Config{Path: ".", KeyFile: "a.key"}, "path names no file"},
		"path is above":        {Config{Path: "a/..", KeyFile: "a.key"}, "path names no file"},
		"key is a directory":   {Config{Path: "a.db", KeyFile: "/"}, "key_file names no file"},
		"path with NUL":        {Config{Path: "a\x00.db", KeyFile: "a.key"}, "path names no file"},
		"both the same":        {Config{Path: "a.db", KeyFile: "a.db"}, "are the same file"},
		"both the same at end": {Config{Path: "x/a.db", KeyFile: "./x/y/../a.db"}, "are the same file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store, err := New(test.config)
			switch {
			case test.want == "" && (err != nil || store == nil):
				t.Errorf("New: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("New: error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestNewDoesNotTouchTheDisk(t *testing.T) {
	dir := t.TempDir()
	store, err := New(Config{Path: filepath.Join(dir, "new", "a.db"), KeyFile: filepath.Join(dir, "a.key")})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("New left %v, error %v", names, err)
	}
}

func TestConfigInJSON(t *testing.T) {
	var config Config
	if err := json.Unmarshal([]byte(`{"path":"a.db","key_file":"a.key"}`), &config); err != nil {
		t.Fatal(err)
	}
	if config != (Config{Path: "a.db", KeyFile: "a.key"}) {
		t.Errorf("got %+v", config)
	}
}
