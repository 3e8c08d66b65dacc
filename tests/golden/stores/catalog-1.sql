BEGIN TRANSACTION;
CREATE TABLE about (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "about" VALUES('version','1');
INSERT INTO "about" VALUES('server','abcdef0123456789');
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	owner VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	created_ns BIGINT NOT NULL, 
	last_number INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (owner, name)
);
INSERT INTO "projects" VALUES(1,'local','digits',1799999999999999000,3);
INSERT INTO "projects" VALUES(2,'local','cats',1799999999999999000,1);
CREATE TABLE runs (
	project INTEGER NOT NULL, 
	run_id VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	active_ns BIGINT NOT NULL, 
	alive_ns BIGINT NOT NULL, 
	end_state VARCHAR, 
	points BIGINT NOT NULL, 
	unsettled BOOLEAN NOT NULL, 
	search VARCHAR NOT NULL, 
	document VARCHAR NOT NULL, 
	PRIMARY KEY (project, run_id), 
	UNIQUE (project, number), 
	FOREIGN KEY(project) REFERENCES projects (id)
);
INSERT INTO "runs" VALUES(1,'r1',1,1800000000000000000,1800000000000000000,NULL,3,0,'brave
r1
good','{"name":"brave","created_ns":1799999999999999000,"active_ns":1800000000000000000,"alive_ns":1800000000000000000,"end_state":null,"end_ns":0,"exit_code":null,"signal":null,"unsettled":false,"color":null,"notes":"","group":null,"job_type":null,"program":null,"host":null,"tags":["good"],"config":{"lr":0.1,"model":"vit"},"summary":{},"definitions":[],"writers":{"w-1":{"role":"main","applied":100,"heard_ns":0,"last_ns":0,"points":3,"gaps":0,"end":null,"end_ns":0,"exit_code":null,"signal":null}}}');
INSERT INTO "runs" VALUES(1,'r2',3,1800000000000000000,1800000000000000000,NULL,3,1,'calm
r2','{"name":"calm","created_ns":1799999999999999000,"active_ns":1800000000000000000,"alive_ns":1800000000000000000,"end_state":null,"end_ns":0,"exit_code":null,"signal":null,"unsettled":true,"color":null,"notes":"","group":"g","job_type":null,"program":null,"host":null,"tags":[],"config":{"lr":0.5,"m":{"d":2}},"summary":{"best":3},"definitions":[],"writers":{"w-1":{"role":"main","applied":100,"heard_ns":0,"last_ns":0,"points":3,"gaps":0,"end":null,"end_ns":0,"exit_code":null,"signal":null}}}');
CREATE TABLE tombstones (
	owner VARCHAR NOT NULL, 
	project VARCHAR NOT NULL, 
	run_id VARCHAR NOT NULL, 
	deleted_ns BIGINT NOT NULL, 
	PRIMARY KEY (owner, project, run_id)
);
INSERT INTO "tombstones" VALUES('local','digits','r0',1795466382896866315);
INSERT INTO "tombstones" VALUES('local','cats','r1',1795466382900703090);
CREATE INDEX runs_unsettled ON runs (unsettled) WHERE unsettled;
COMMIT;
