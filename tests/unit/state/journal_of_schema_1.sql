-- Written by the build that had schema 1: an execution in each of its phases, and four that are settled.
BEGIN TRANSACTION;
CREATE TABLE execution (
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, execution_number INTEGER NOT NULL,
    operation TEXT NOT NULL, claimed_at REAL NOT NULL, phase TEXT NOT NULL, state TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (namespace, job_id, execution_number)
) WITHOUT ROWID, STRICT;
INSERT INTO "execution" VALUES('team-a','claiming',2,'greet',1.76722560012345600126e+09,'claiming','{"plan":{"steps":[{"name":"one","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"resume","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false},{"name":"zwei ☃","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"rerun","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false}],"final_step":true}}',845296158);
INSERT INTO "execution" VALUES('team-a','preparing',2,'greet',1.76722560012345600126e+09,'preparing','{"plan":{"steps":[{"name":"one","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"resume","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false},{"name":"zwei ☃","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"rerun","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false}],"final_step":true},"step":1,"number":2,"results":[["one","SUCCEEDED"]]}',4035307070);
INSERT INTO "execution" VALUES('team-a','reporting',2,'greet',1.76722560012345600126e+09,'reporting','{"outcome":{"status":"FAILED","reason":"exited with code 3: ☃\n","code":"unstartable","details":{"slot":"B"}},"details":{"agent":"me"},"version":7,"is_bare":true}',2137160498);
INSERT INTO "execution" VALUES('team-a','running',2,'greet',1.76722560012345600126e+09,'running','{"plan":{"steps":[{"name":"one","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"resume","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false},{"name":"zwei ☃","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"rerun","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false}],"final_step":true},"step":1,"number":2,"results":[["one","SUCCEEDED"]]}',2920593605);
INSERT INTO "execution" VALUES('team-a','stopping',2,'greet',1.76722560012345600126e+09,'stopping','{"plan":{"steps":[{"name":"one","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"resume","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false},{"name":"zwei ☃","handler":"greet","kind":"command","timeout_s":1.5,"max_timeout_s":2.5,"grace_s":3.5,"on_interrupt":"rerun","exclusive":true,"may_reboot":true,"ignore_failure":true,"allow_stderr":3,"include_stdout":false}],"final_step":true},"step":1,"number":2,"outcome":{"status":"CANCELED","reason":"exited with code 3: ☃\n","code":"unstartable","details":{"slot":"B"}}}',4088030447);
CREATE TABLE history (
    entry INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, execution_number INTEGER NOT NULL,
    operation TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, code TEXT NOT NULL,
    was_accepted INTEGER NOT NULL, claimed_at REAL NOT NULL, settled_at REAL NOT NULL, checksum INTEGER NOT NULL
) STRICT;
INSERT INTO "history" VALUES(1,'','settled-well',1,'greet','SUCCEEDED','reason','',1,1.5,1.76722560112345600125e+09,3039105509);
INSERT INTO "history" VALUES(2,'','settled-unstartable',1,'greet','FAILED','reason','unstartable',1,1.5,1.76722560112345600125e+09,2007299476);
INSERT INTO "history" VALUES(3,'','settled-unswept',1,'greet','FAILED','reason','unswept',1,1.5,1.76722560112345600125e+09,1264293399);
INSERT INTO "history" VALUES(4,'','settled-lost',1,'greet','FAILED','reason','lost',0,1.5,1.76722560112345600125e+09,3903864627);
COMMIT;
PRAGMA user_version=1;
