/* SPDX-License-Identifier: MIT */
/*
 * The accelerator's probe: a BIOS image that goes through protected mode to
 * 64-bit mode with paging on, uses a stack, and writes to QEMU's
 * isa-debug-exit. Real mode alone proves nothing: KVM emulates it in software,
 * and there are hosts where exactly that much works. accelerator.py holds the
 * bytes; a test assembles this and compares:
 *	as --64 probe.S -o p.o && ld -Ttext=0 --oformat binary -o probe.rom p.o
 */
	.globl _start
	.code16
_start:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	lgdtl	%cs:gdtr
	movl	$0x11, %eax		/* CR0.PE, .ET */
	movl	%eax, %cr0
	ljmpl	$8, $0xf0000 + protected
	.code32
protected:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	cld
	movl	$0x1000, %edi		/* three page tables, zeroed, */
	xorl	%eax, %eax
	movl	$0xc00, %ecx
	rep stosl
	movl	$0x2003, 0x1000		/* map the first 2 MiB onto themselves */
	movl	$0x3003, 0x2000
	movl	$0x83, 0x3000
	movl	$0x20, %eax		/* CR4.PAE */
	movl	%eax, %cr4
	movl	$0x1000, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	$0x80000011, %eax	/* CR0.PG */
	movl	%eax, %cr0
	ljmpl	$24, $0xf0000 + long
	.code64
long:	movl	$0x9000, %esp
	pushq	$0x10
	popq	%rax
	outb	%al, $0xf4
1:	hlt
	jmp	1b
	.balign	8
gdt:	.quad	0
	.quad	0x00cf9a000000ffff	/* 8: 32-bit code */
	.quad	0x00cf92000000ffff	/* 16: data */
	.quad	0x00af9a000000ffff	/* 24: 64-bit code */
gdtr:	.word	. - gdt - 1
	.long	0xf0000 + gdt
	.org	0xfff0
	.code16
	ljmpw	$0xf000, $_start	/* the reset vector */
	.org	0x10000
